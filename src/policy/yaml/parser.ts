/** Tokens to a tree of nodes: the first document of a text, as go-yaml v2 composes it. */
import { MAX_DEPTH, type Position, SyntaxProblem } from '../position.ts';
import { Scanner, type Token, type TokenKind } from './scanner.ts';
import { Source } from './source.ts';

export type Node =
  | { readonly kind: 'alias'; readonly name: string; readonly target: Node; readonly at: Position }
  /** `implicit`: written plain and without a tag (or with the tag "!"), so that its text decides its type. */
  | {
      readonly kind: 'scalar';
      readonly value: string;
      readonly tag: string;
      readonly implicit: boolean;
      readonly at: Position;
    }
  | { readonly kind: 'sequence'; readonly items: Node[]; readonly at: Position }
  | { readonly kind: 'mapping'; readonly pairs: [Node, Node][]; readonly at: Position };

export const YAML_TAG = 'tag:yaml.org,2002:';

interface Parsed {
  /** Undefined for a text without a document. */
  readonly root: Node | undefined;
  readonly ignoredFrom: Position | undefined;
}

/** @throws {SyntaxProblem} where go-yaml would refuse the text */
export function parseYaml(bytes: Uint8Array): Parsed {
  return new Parser(new Scanner(new Source(bytes))).document();
}

const AFTER_DOCUMENT = new Set<TokenKind>([
  'version-directive',
  'tag-directive',
  'document-start',
  'document-end',
  'stream-end',
]);

class Parser {
  readonly #scanner: Scanner;
  readonly #anchors = new Map<string, Node>();
  readonly #handles = new Map<string, string>();
  #depth = 0;

  constructor(scanner: Scanner) {
    this.#scanner = scanner;
  }

  document(): Parsed {
    this.#scanner.peek();
    this.#scanner.skip();
    const first = this.#scanner.peek();
    if (first.kind === 'stream-end') return { root: undefined, ignoredFrom: undefined };
    const explicit = first.kind !== 'document-end' && AFTER_DOCUMENT.has(first.kind);
    this.#directives();
    let root: Node;
    if (explicit) {
      const start = this.#scanner.peek();
      if (start.kind !== 'document-start') fail('"---" is missing behind the directives', start);
      this.#scanner.skip();
      const content = this.#scanner.peek();
      root = AFTER_DOCUMENT.has(content.kind) ? empty(content.start) : this.#node(true, false);
    } else root = this.#node(true, false);
    if (this.#scanner.peek().kind === 'document-end') this.#scanner.skip();
    return { root, ignoredFrom: this.#rest() };
  }

  /** Nobody reads on behind the first document; whether something stands there is only for a warning. */
  #rest(): Position | undefined {
    try {
      let token = this.#scanner.peek();
      while (token.kind === 'document-end' || token.kind === 'document-start') {
        this.#scanner.skip();
        token = this.#scanner.peek();
      }
      return token.kind === 'stream-end' ? undefined : token.start;
    } catch (error) {
      if (error instanceof SyntaxProblem) return error.position;
      throw error;
    }
  }

  #directives(): void {
    let version = false;
    for (let token = this.#scanner.peek(); ; token = this.#scanner.peek()) {
      if (token.kind === 'version-directive') {
        if (version) fail('"%YAML" stands there twice', token);
        if (token.value !== '1.1') fail(`YAML ${token.value} is not read, only 1.1`, token);
        version = true;
      } else if (token.kind === 'tag-directive') {
        if (this.#handles.has(token.value)) fail(`"%TAG ${token.value}" stands there twice`, token);
        this.#handles.set(token.value, token.suffix);
      } else break;
      this.#scanner.skip();
    }
    if (!this.#handles.has('!')) this.#handles.set('!', '!');
    if (!this.#handles.has('!!')) this.#handles.set('!!', YAML_TAG);
  }

  #node(block: boolean, indentless: boolean): Node {
    if (++this.#depth > MAX_DEPTH) {
      throw new SyntaxProblem(`nested more than ${MAX_DEPTH} levels deep`, this.#scanner.peek().start);
    }
    const node = this.#content(block, indentless);
    this.#depth--;
    return node;
  }

  #content(block: boolean, indentless: boolean): Node {
    let token = this.#scanner.peek();
    const at = token.start;
    if (token.kind === 'alias') {
      this.#scanner.skip();
      const target = this.#anchors.get(token.value);
      if (target === undefined)
        fail(`the anchor "&${token.value}" does not exist; put a text that starts with "*" in quotes`, token);
      return { kind: 'alias', name: token.value, target, at };
    }
    let anchor: string | undefined;
    let tag: string | undefined;
    for (const first of [true, false]) {
      if (token.kind === 'anchor' && anchor === undefined) anchor = token.value;
      else if (token.kind === 'tag' && tag === undefined) tag = this.#tag(token);
      else break;
      this.#scanner.skip();
      token = this.#scanner.peek();
      if (!first) break;
    }
    const keep = <T extends Node>(node: T): T => {
      if (anchor !== undefined) this.#anchors.set(anchor, node);
      return node;
    };
    if (indentless && token.kind === '-') return this.#indentless(keep({ kind: 'sequence', items: [], at }));
    if (token.kind === 'scalar') {
      this.#scanner.skip();
      const implicit = tag === '!' || (tag === undefined && token.plain);
      return keep({ kind: 'scalar', value: token.value, tag: tag ?? '', implicit, at });
    }
    if (token.kind === '[') return this.#flowSequence(keep({ kind: 'sequence', items: [], at }));
    if (token.kind === '{') return this.#flowMapping(keep({ kind: 'mapping', pairs: [], at }));
    if (block && token.kind === 'block-sequence-start') {
      return this.#blockSequence(keep({ kind: 'sequence', items: [], at }));
    }
    if (block && token.kind === 'block-mapping-start') {
      return this.#blockMapping(keep({ kind: 'mapping', pairs: [], at }));
    }
    if (anchor !== undefined || tag !== undefined) {
      return keep({ kind: 'scalar', value: '', tag: tag ?? '', implicit: tag === undefined, at });
    }
    return fail('a value is missing here', token);
  }

  #tag(token: Token): string {
    if (token.value === '') return token.suffix;
    const prefix = this.#handles.get(token.value);
    const tag = prefix === undefined ? '' : prefix + token.suffix;
    if (tag === '') fail(`the tag handle "${token.value}" is not declared`, token);
    return tag;
  }

  #blockSequence(node: Node & { kind: 'sequence' }): Node {
    this.#scanner.skip();
    for (;;) {
      const token = this.#scanner.peek();
      if (token.kind === 'block-end') break;
      if (token.kind !== '-') fail('expected the next list item ("- "); check the indentation', token);
      this.#scanner.skip();
      const next = this.#scanner.peek();
      const bare = next.kind === '-' || next.kind === 'block-end';
      node.items.push(bare ? empty(next.start) : this.#node(true, false));
    }
    this.#scanner.skip();
    return node;
  }

  #indentless(node: Node & { kind: 'sequence' }): Node {
    while (this.#scanner.peek().kind === '-') {
      this.#scanner.skip();
      const next = this.#scanner.peek();
      const bare =
        next.kind === '-' || next.kind === 'key' || next.kind === 'value' || next.kind === 'block-end';
      node.items.push(bare ? empty(next.start) : this.#node(true, false));
    }
    return node;
  }

  #blockMapping(node: Node & { kind: 'mapping' }): Node {
    this.#scanner.skip();
    const part = (): Node => {
      this.#scanner.skip();
      const next = this.#scanner.peek();
      const bare = next.kind === 'key' || next.kind === 'value' || next.kind === 'block-end';
      return bare ? empty(next.start) : this.#node(true, true);
    };
    for (;;) {
      const token = this.#scanner.peek();
      if (token.kind === 'block-end') break;
      if (token.kind !== 'key') fail('expected the next key; check the indentation', token);
      const key = part();
      const value = this.#scanner.peek();
      node.pairs.push([key, value.kind === 'value' ? part() : empty(value.start)]);
    }
    this.#scanner.skip();
    return node;
  }

  #flowSequence(node: Node & { kind: 'sequence' }): Node {
    this.#scanner.skip();
    for (let first = true; ; first = false) {
      let token = this.#scanner.peek();
      if (token.kind === ']') break;
      if (!first) {
        if (token.kind !== ',') fail('expected "," or "]"', token);
        this.#scanner.skip();
        token = this.#scanner.peek();
        if (token.kind === ']') break;
      }
      node.items.push(token.kind === 'key' ? this.#flowPair(token) : this.#node(false, false));
    }
    this.#scanner.skip();
    return node;
  }

  /** A map of one pair that stands in a list without braces of its own. */
  #flowPair(start: Token): Node {
    this.#scanner.skip();
    const token = this.#scanner.peek();
    let key: Node;
    if (token.kind === 'value' || token.kind === ',' || token.kind === ']') {
      // libyaml loses the token here, whatever it is.
      this.#scanner.skip();
      key = empty(token.start);
    } else key = this.#node(false, false);
    let value = empty(this.#scanner.peek().start);
    if (this.#scanner.peek().kind === 'value') {
      this.#scanner.skip();
      const next = this.#scanner.peek();
      if (next.kind !== ',' && next.kind !== ']') value = this.#node(false, false);
    }
    return { kind: 'mapping', pairs: [[key, value]], at: start.start };
  }

  #flowMapping(node: Node & { kind: 'mapping' }): Node {
    this.#scanner.skip();
    for (let first = true; ; first = false) {
      let token = this.#scanner.peek();
      if (token.kind === '}') break;
      if (!first) {
        if (token.kind !== ',') fail('expected "," or "}"', token);
        this.#scanner.skip();
        token = this.#scanner.peek();
        if (token.kind === '}') break;
      }
      node.pairs.push(this.#flowEntry(token));
    }
    this.#scanner.skip();
    return node;
  }

  #flowEntry(start: Token): [Node, Node] {
    if (start.kind !== 'key') {
      const key = this.#node(false, false);
      return [key, empty(this.#scanner.peek().start)];
    }
    this.#scanner.skip();
    const token = this.#scanner.peek();
    const bare = token.kind === 'value' || token.kind === ',' || token.kind === '}';
    const key = bare ? empty(token.start) : this.#node(false, false);
    const after = this.#scanner.peek();
    if (after.kind !== 'value') return [key, empty(after.start)];
    this.#scanner.skip();
    const next = this.#scanner.peek();
    return [key, next.kind === ',' || next.kind === '}' ? empty(next.start) : this.#node(false, false)];
  }
}

function empty(at: Position): Node {
  return { kind: 'scalar', value: '', tag: '', implicit: true, at };
}

function fail(message: string, token: Token): never {
  throw new SyntaxProblem(message, token.start);
}
