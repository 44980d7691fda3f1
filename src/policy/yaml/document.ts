/**
 * Nodes to data, as sigs.k8s.io/yaml turns YAML into JSON: anchors and merge keys resolved, keys made strings and sorted, the last of
 * duplicates kept.
 */
import { type Data, type DataEntry, type Document, formatPath, type StrictNote } from '../data.ts';
import { MAX_DEPTH, type Position, SyntaxProblem } from '../position.ts';
import { type Node, parseYaml, YAML_TAG } from './parser.ts';
import { resolve, type Scalar } from './resolve.ts';

/** A map as go-yaml has it, by the identity of its keys: the number 1 and the text "1" are two. */
interface GoMap {
  readonly kind: 'map';
  readonly entries: Map<string | symbol, { key: Scalar; at: Position; value: GoValue }>;
  readonly at: Position;
}
type GoValue =
  | { readonly kind: 'scalar'; readonly value: Scalar; readonly at: Position }
  | { readonly kind: 'list'; readonly items: GoValue[]; readonly at: Position }
  | GoMap;

/** @throws {SyntaxProblem} where kube-apiserver would refuse the text as YAML */
export function readYamlDocument(bytes: Uint8Array): Document {
  const { root, ignoredFrom } = parseYaml(bytes);
  if (root === undefined) {
    return { root: { kind: 'null', at: { line: 1, column: 1 } }, duplicates: [], ignoredFrom };
  }
  const decoder = new Decoder();
  const value = decoder.decode(root, []);
  return { root: toData(value), duplicates: decoder.duplicates, ignoredFrom };
}

class Decoder {
  readonly duplicates: StrictNote[] = [];
  readonly #open = new Set<Node>();
  #decoded = 1;
  #aliased = 0;
  #aliasDepth = 0;

  decode(node: Node, path: readonly (string | number)[]): GoValue {
    this.#count(node);
    if (path.length > MAX_DEPTH)
      throw new SyntaxProblem(`nested more than ${MAX_DEPTH} levels deep`, node.at);
    switch (node.kind) {
      case 'alias':
        return this.#alias(node, path);
      case 'scalar':
        return { kind: 'scalar', value: resolve(node), at: node.at };
      case 'sequence':
        return {
          kind: 'list',
          items: node.items.map((item, index) => this.decode(item, [...path, index])),
          at: node.at,
        };
      case 'mapping': {
        const map: GoMap = { kind: 'map', entries: new Map(), at: node.at };
        this.#fill(node, map, path);
        return map;
      }
    }
  }

  /** go-yaml's guard against documents that grow by their aliases. */
  #count(node: Node): void {
    this.#decoded++;
    if (this.#aliasDepth > 0) this.#aliased++;
    if (this.#aliased <= 100 || this.#decoded <= 1000) return;
    const scale = Math.min(Math.max((this.#decoded - 400_000) / 3_600_000, 0), 1);
    if (this.#aliased / this.#decoded > 0.99 - 0.89 * scale) {
      throw new SyntaxProblem('the document grows too much by its aliases ("*name")', node.at);
    }
  }

  #alias(node: Node & { kind: 'alias' }, path: readonly (string | number)[]): GoValue {
    if (this.#open.has(node)) throw new SyntaxProblem(`the anchor "&${node.name}" contains itself`, node.at);
    this.#open.add(node);
    this.#aliasDepth++;
    const value = this.decode(node.target, path);
    this.#aliasDepth--;
    this.#open.delete(node);
    return value;
  }

  #fill(node: Node & { kind: 'mapping' }, map: GoMap, path: readonly (string | number)[]): void {
    for (const [keyNode, valueNode] of node.pairs) {
      if (isMerge(keyNode)) {
        this.#merge(valueNode, map, path);
        continue;
      }
      const key = this.decode(keyNode, path);
      if (key.kind !== 'scalar') throw new SyntaxProblem('a list or a map cannot be a key', keyNode.at);
      const text = keyText(key.value);
      const value = this.decode(valueNode, [...path, text]);
      const identity = identityOf(key.value);
      if (map.entries.has(identity))
        this.duplicates.push({ path: formatPath([...path, text]), key: text, at: keyNode.at });
      map.entries.set(identity, { key: key.value, at: keyNode.at, value });
    }
  }

  /** go-yaml writes merged keys over those before them; keys after them win. Of several maps the first counts. */
  #merge(node: Node, map: GoMap, path: readonly (string | number)[]): void {
    const parts = node.kind === 'sequence' ? node.items.toReversed() : [node];
    for (const part of parts) {
      const target = part.kind === 'alias' ? part.target : part;
      if (target.kind !== 'mapping')
        throw new SyntaxProblem('"<<" can merge only a map, or a list of maps', part.at);
      this.#count(part);
      if (part.kind !== 'alias') {
        this.#fill(target, map, path);
        continue;
      }
      if (this.#open.has(part))
        throw new SyntaxProblem(`the anchor "&${part.name}" contains itself`, part.at);
      this.#open.add(part);
      this.#aliasDepth++;
      this.#count(target);
      this.#fill(target, map, path);
      this.#aliasDepth--;
      this.#open.delete(part);
    }
  }
}

function isMerge(node: Node): boolean {
  return node.kind === 'scalar' && node.value === '<<' && (node.implicit || node.tag === `${YAML_TAG}merge`);
}

function identityOf(key: Scalar): string | symbol {
  if (key.type === 'null') return 'null';
  // NaN is unlike itself, in Go's maps too.
  if (key.type === 'float' && Number.isNaN(key.value)) return Symbol('NaN');
  if (key.type === 'float' && key.value === 0) return 'float 0';
  return `${key.type} ${key.value}`;
}

function keyText(key: Scalar): string {
  if (key.type === 'null') return 'null';
  if (key.type !== 'float') return String(key.value);
  if (Number.isNaN(key.value)) return '.nan';
  if (!Number.isFinite(key.value)) return key.value > 0 ? '.inf' : '-.inf';
  return String(Math.fround(key.value));
}

function toData(value: GoValue): Data {
  if (value.kind === 'scalar') return scalarToData(value.value, value.at);
  if (value.kind === 'list') return { kind: 'list', items: value.items.map(toData), at: value.at };
  const entries = new Map<string, DataEntry>();
  for (const { key, at, value: item } of value.entries.values()) {
    if (key.type === 'null' || (key.type === 'int' && key.value > 2n ** 63n - 1n)) {
      throw new SyntaxProblem(
        key.type === 'null' ? 'a key is empty or null' : 'a key is too large a number',
        at,
      );
    }
    const text = keyText(key);
    entries.set(text, { key: text, at, value: toData(item) });
  }
  return { kind: 'map', entries: [...entries.values()].sort(byUtf8Key), at: value.at };
}

/** Go sorts the keys of a map by their bytes when it writes JSON. */
function byUtf8Key(a: DataEntry, b: DataEntry): number {
  return Buffer.compare(Buffer.from(a.key), Buffer.from(b.key));
}

function scalarToData(scalar: Scalar, at: Position): Data {
  switch (scalar.type) {
    case 'null':
      return { kind: 'null', at };
    case 'int':
      return { kind: 'number', text: String(scalar.value), at };
    case 'float':
      if (!Number.isFinite(scalar.value)) throw new SyntaxProblem('a number must be finite', at);
      return { kind: 'number', text: floatText(scalar.value), at };
    default:
      return { kind: scalar.type, value: scalar.value, at } as Data;
  }
}

/** As Go writes a float64 in JSON: whole numbers below 1e21 have no point and no exponent. */
function floatText(value: number): string {
  return Number.isInteger(value) && Math.abs(value) < 1e21 ? BigInt(value).toString() : String(value);
}
