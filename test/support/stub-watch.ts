/** Lists and watches of one resource on a stub server, event by event as the test says. */
import type { ServerResponse } from 'node:http';
import type { Handler } from './stub-api.ts';
import { sendJson, sendStatus } from './stub-api.ts';

export interface Item {
  readonly name: string;
  readonly version: string;
  /** The rest of the object. */
  readonly rest?: object;
}

export class StubResource {
  items: Item[] = [];
  listVersion = '1';
  /** Answers in the place of the next lists, first of them first. */
  readonly listFaults: Handler[] = [];
  /** Answers in the place of the next watches. */
  readonly watchFaults: Handler[] = [];
  readonly lists: URL[] = [];
  readonly watches: URL[] = [];
  readonly accepts: (string | undefined)[] = [];
  readonly #open = new Set<ServerResponse>();

  get openWatches(): number {
    return this.#open.size;
  }

  readonly handle: Handler = (request, response, url) => {
    this.accepts.push(request.headers.accept);
    const watching = url.searchParams.get('watch') === 'true';
    (watching ? this.watches : this.lists).push(url);
    const fault = (watching ? this.watchFaults : this.listFaults).shift();
    if (fault !== undefined) return fault(request, response, url);
    return watching ? this.#watch(response) : this.#list(response, url);
  };

  /** Sends an event on every watch. */
  send(type: string, item: Item): void {
    this.write(`${JSON.stringify({ type, object: objectOf(item) })}\n`);
  }

  sendError(code: number, reason: string): void {
    this.write(
      `${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code, reason, message: reason } })}\n`,
    );
  }

  write(text: string): void {
    for (const response of this.#open) response.write(text);
  }

  /** Ends every watch in good order. */
  end(): void {
    for (const response of this.#open) response.end();
  }

  #watch(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
    this.#open.add(response);
    response.on('close', () => this.#open.delete(response));
  }

  #list(response: ServerResponse, url: URL): void {
    const start = Number(url.searchParams.get('continue') ?? 0);
    const end = start + Number(url.searchParams.get('limit') ?? this.items.length);
    const metadata = {
      resourceVersion: this.listVersion,
      ...(end < this.items.length ? { continue: String(end) } : {}),
    };
    sendJson(response, { kind: 'List', metadata, items: this.items.slice(start, end).map(objectOf) });
  }
}

function objectOf({ name, version, rest }: Item): object {
  return {
    ...rest,
    metadata: { name, resourceVersion: version, ...(rest as { metadata?: object })?.metadata },
  };
}

/** A fault: the API server refuses with that status. */
export function refuse(code: number, reason: string): Handler {
  return (_request, response) => sendStatus(response, code, reason);
}
