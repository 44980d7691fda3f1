/**
 * A real OpenTelemetry Collector beside a test: programs send it spans by gRPC or by HTTP, and the test reads them as OTLP/JSON
 * (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).
 */
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { ensureBinaries } from './binaries.ts';
import { type Child, startChild } from './children.ts';
import { freePort } from './controlplane.ts';
import { until } from './wait.ts';

type Value = string | number | boolean;

export interface CollectedSpan {
  /** `service.name` of the resource: who sent it. */
  readonly service: string;
  readonly resource: Readonly<Record<string, Value>>;
  readonly traceId: string;
  readonly spanId: string;
  /** "" of a root. */
  readonly parentSpanId: string;
  readonly name: string;
  /** 2 is SERVER, 3 is CLIENT. */
  readonly kind: number;
  /** 0 is UNSET, 2 is ERROR. */
  readonly status: number;
  readonly attributes: Readonly<Record<string, Value>>;
}

export interface Collector {
  /** For OTLP by gRPC, such as 127.0.0.1:20317. */
  readonly grpcAddress: string;
  /** For OTLP by HTTP, such as http://127.0.0.1:20318/v1/traces. */
  readonly httpUrl: string;
  /** Everything that has arrived so far. */
  readonly spans: readonly CollectedSpan[];
  readonly child: Child;
  stop(): Promise<void>;
}

interface Attribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}
interface TracesData {
  readonly resourceSpans?: readonly {
    readonly resource: { readonly attributes?: readonly Attribute[] };
    readonly scopeSpans: readonly {
      readonly spans: readonly {
        readonly traceId: string;
        readonly spanId: string;
        readonly parentSpanId?: string;
        readonly name: string;
        readonly kind?: number;
        readonly status?: { readonly code?: number };
        readonly attributes?: readonly Attribute[];
      }[];
    }[];
  }[];
}

/** A 64-bit number is a string there. */
const readAttributes = (attributes: readonly Attribute[] = []): Record<string, Value> =>
  Object.fromEntries(
    attributes.map(({ key, value: { intValue, ...others } }) => [
      key,
      (intValue === undefined ? Object.values(others)[0] : Number(intValue)) as Value,
    ]),
  );

function readSpans(data: TracesData): CollectedSpan[] {
  return (data.resourceSpans ?? []).flatMap(({ resource: { attributes }, scopeSpans }) => {
    const resource = readAttributes(attributes);
    return scopeSpans
      .flatMap(({ spans }) => spans)
      .map((span) => ({
        service: String(resource['service.name']),
        resource,
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId ?? '',
        name: span.name,
        kind: span.kind ?? 0,
        status: span.status?.code ?? 0,
        attributes: readAttributes(span.attributes),
      }));
  });
}

/**
 * Starts a collector and waits until it listens.
 * @param dir for its configuration and its log
 */
export async function startCollector(dir: string): Promise<Collector> {
  const { otelcol } = await ensureBinaries(['otelcol']);
  const spans: CollectedSpan[] = [];
  const sink = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    spans.push(...readSpans(JSON.parse(Buffer.concat(chunks).toString()) as TracesData));
    response.setHeader('content-type', 'application/json').end('{}');
  });
  await new Promise<void>((resolve) => sink.listen(0, '127.0.0.1', resolve));
  const [grpcPort, httpPort] = await Promise.all([freePort(), freePort()]);
  const config = join(dir, 'otelcol.yaml');
  const settings = {
    receivers: {
      otlp: {
        protocols: {
          grpc: { endpoint: `127.0.0.1:${grpcPort}` },
          http: { endpoint: `127.0.0.1:${httpPort}` },
        },
      },
    },
    exporters: {
      otlp_http: {
        endpoint: `http://127.0.0.1:${(sink.address() as AddressInfo).port}`,
        encoding: 'json',
        compression: 'none',
      },
    },
    service: {
      telemetry: { metrics: { level: 'none' } },
      pipelines: { traces: { receivers: ['otlp'], exporters: ['otlp_http'] } },
    },
  };
  writeFileSync(config, JSON.stringify(settings));
  const child = startChild({
    name: 'otelcol',
    command: otelcol,
    args: [`--config=${config}`],
    logFile: join(dir, 'otelcol.log'),
  });
  const stop = async (): Promise<void> => {
    await child.stop();
    sink.closeAllConnections();
    await new Promise((resolve) => sink.close(resolve));
  };
  try {
    for (const port of [grpcPort, httpPort])
      await until('the collector to listen', () => {
        if (child.ended !== undefined)
          throw new Error(`it ended (${child.ended}); its log:\n${child.logTail()}`);
        return listens(port);
      });
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    grpcAddress: `127.0.0.1:${grpcPort}`,
    httpUrl: `http://127.0.0.1:${httpPort}/v1/traces`,
    spans,
    child,
    stop,
  };
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
