/**
 * AdmissionReview v1 as bytes ⇄ typed request and decision.
 *
 * Most of a body is not looked at: kube-apiserver writes the fields in the order of its Go structs, so the old object and managedFields are
 * cut out of the bytes before JSON.parse sees them. Each cut below is taken only where the bytes around it prove that the rest reads as it
 * would in the whole; otherwise the whole is parsed. test/server/review.test.ts compares the two ways.
 */
import { randomUUID } from 'node:crypto';
import {
  type AdmissionRequest,
  type Decision,
  type ManagedFieldsEntry,
  OPERATIONS,
  ReviewError,
  type UserInfo,
} from './admission.ts';
import type { JsonObject, JsonValue, KubernetesObject } from './kubernetes.ts';
import { keepRecent } from './recent.ts';

const API_VERSION = 'admission.k8s.io/v1';
const OBJECT = ',"object":{';
const OLD_OBJECT = ',"oldObject":';
const DRY_RUN = [',"dryRun":false,"options":', ',"dryRun":true,"options":'];
const MANAGED_FIELDS = ',"managedFields":[';
/** Stands where a list was cut out, so that another list can't be taken for it. No body can hold it. */
const CUT_MARK = randomUUID();
const END_OF_METADATA = '}]},"spec":{';
/** What stands behind the old object (dryRun and options, whose longest field is a manager of 128 characters), generously. */
const TAIL_BYTES = 1024;
/** The members of a request before its object, in kube-apiserver's order; those without `?` are always written. */
const ENVELOPE = [
  'uid',
  'kind',
  'resource',
  'subResource?',
  'requestKind',
  'requestResource',
  'requestSubResource?',
  'name?',
  'namespace?',
  'operation',
  'userInfo',
  'object',
] as const;

/** kube-apiserver cuts a warning at 256 characters as soon as all of them together are longer than 4096. */
const MAX_WARNING_CHARACTERS = 256;
const MAX_WARNINGS_BYTES = 4096;

interface RawReview {
  /** The request without `object` and `oldObject`. */
  readonly envelope: JsonObject;
  readonly object: JsonValue | undefined;
  readonly oldObject: () => JsonValue | undefined;
}

/**
 * Reads an AdmissionReview.
 * @param body as it came over the wire; it must not be changed afterwards, since the old object is parsed from it when asked for
 * @returns the request; `metadata.managedFields` of its objects is always empty, as no decision depends on it
 * @throws {ReviewError} where the body is not an AdmissionReview that can be judged; says which field and why. `oldObject()` throws it too.
 */
export function readReview(body: Buffer): AdmissionRequest {
  const { envelope, object, oldObject } = readInOrder(body) ?? readWhole(body);
  const operation = required(text(envelope.operation, 'request.operation'), 'request.operation');
  if (!isOperation(operation)) {
    throw new ReviewError(
      'REVIEW_INVALID',
      `request.operation must be one of ${OPERATIONS.join(', ')}, not ${quote(operation)}`,
    );
  }
  const kind = record(envelope.kind, 'request.kind');
  const resource = record(envelope.resource, 'request.resource');
  const options = record(envelope.options, 'request.options');
  const isWrite = operation === 'CREATE' || operation === 'UPDATE';
  let old: { readonly value: KubernetesObject | undefined } | undefined;
  return {
    uid: required(text(envelope.uid, 'request.uid'), 'request.uid'),
    operation,
    group: text(kind.group, 'request.kind.group'),
    version: text(kind.version, 'request.kind.version'),
    kind: required(text(kind.kind, 'request.kind.kind'), 'request.kind.kind'),
    resource: text(resource.resource, 'request.resource.resource'),
    subResource: text(envelope.subResource, 'request.subResource'),
    name: text(envelope.name, 'request.name'),
    namespace: text(envelope.namespace, 'request.namespace'),
    userInfo: readUser(envelope.userInfo),
    dryRun: flag(envelope.dryRun, 'request.dryRun'),
    object: isWrite
      ? required(kubernetesObject(object, 'request.object'), 'request.object')
      : kubernetesObject(object, 'request.object'),
    oldObject: () => {
      old ??= { value: kubernetesObject(oldObject(), 'request.oldObject') };
      return old.value;
    },
    oldManagedFields: () => readManagedFields(body),
    fieldManager: text(options.fieldManager, 'request.options.fieldManager'),
  };
}

/** From the body itself, since the objects come without it; an entry that is no object is left out. */
function readManagedFields(body: Buffer): ManagedFieldsEntry[] {
  const review = JSON.parse(body.toString('utf8')) as JsonObject;
  const old = isRecord(review.request) ? review.request.oldObject : undefined;
  const metadata = isRecord(old) ? old.metadata : undefined;
  const list = isRecord(metadata) ? metadata.managedFields : undefined;
  return Array.isArray(list) ? list.filter(isRecord) : [];
}

/**
 * Writes the answer.
 * @returns an AdmissionReview as JSON
 */
export function writeReview(request: Pick<AdmissionRequest, 'uid'>, decision: Decision): string {
  let json = `{"apiVersion":"${API_VERSION}","kind":"AdmissionReview","response":{"uid":${JSON.stringify(request.uid)},"allowed":${decision.allowed}`;
  if (!decision.allowed) {
    const reason = decision.statusCode === 400 ? 'BadRequest' : 'Forbidden';
    const message = decision.message.replace(CONTROL_EXCEPT_NEWLINE, ' ');
    json += `,"status":{"status":"Failure","code":${decision.statusCode},"reason":"${reason}","message":${JSON.stringify(message)}}`;
  } else if (decision.patch.length > 0) {
    const patch = Buffer.from(JSON.stringify(decision.patch)).toString('base64');
    json += `,"patchType":"JSONPatch","patch":"${patch}"`;
  }
  if (decision.warnings.length > 0) {
    json += `,"warnings":${JSON.stringify(fitWarnings(decision.warnings))}`;
  }
  for (const _ in decision.auditAnnotations) {
    json += `,"auditAnnotations":${JSON.stringify(decision.auditAnnotations)}`;
    break;
  }
  return `${json}}}`;
}

// C0 and C1 controls and the characters that end or reorder a line: a name from an object must not steer the terminal that shows it.
const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+/gu;
const CONTROL_EXCEPT_NEWLINE = /(?!\n)[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu;

/** A warning travels in an HTTP header, so it has one line; what does not fit is left out at the end. */
function fitWarnings(warnings: readonly string[]): string[] {
  const fitting: string[] = [];
  let bytes = 0;
  for (const warning of warnings) {
    const line = warning.replace(CONTROL, ' ').toWellFormed().trim();
    const characters = Array.from(line);
    const short =
      characters.length > MAX_WARNING_CHARACTERS
        ? `${characters.slice(0, MAX_WARNING_CHARACTERS - 1).join('')}…`
        : line;
    bytes += Buffer.byteLength(short);
    if (bytes > MAX_WARNINGS_BYTES) break;
    if (short !== '') fitting.push(short);
  }
  return fitting;
}

function readWhole(body: Buffer): RawReview {
  let review: JsonValue;
  try {
    review = JSON.parse(body.toString()) as JsonValue;
  } catch {
    throw new ReviewError('BODY_NOT_JSON', 'the body is not JSON');
  }
  if (!isRecord(review) || review.kind !== 'AdmissionReview') {
    throw new ReviewError('BODY_NOT_REVIEW', 'the body is not an AdmissionReview');
  }
  if (review.apiVersion !== API_VERSION) {
    throw new ReviewError(
      'REVIEW_VERSION',
      `apiVersion ${quote(review.apiVersion)} is not supported; list "v1" in admissionReviewVersions of the webhook`,
    );
  }
  const request = review.request;
  if (request === undefined || request === null) {
    throw new ReviewError('REVIEW_INVALID', 'request is missing');
  }
  const envelope = record(request, 'request');
  const { object, oldObject } = envelope;
  return {
    envelope,
    object: emptyManagedFields(object),
    oldObject: () => emptyManagedFields(oldObject),
  };
}

/**
 * Reads a body in kube-apiserver's order:
 *
 *     {"kind":"AdmissionReview","apiVersion":"…","request":{…,"object":{…},"oldObject":…,"dryRun":…,"options":…}}
 *     ^ head                                                         ^ object            ^ old          ^ tail
 *
 * Why what is not parsed can't change what is: where the body is valid JSON,
 * - the head, closed by `}}`, parses, so the object begins as the last member of the request;
 * - the object parses as one value, so the key behind it is the request's own, whatever keys the object has inside;
 * - the tail parses as two members and closes request and review, so it ends what the head began;
 * - between them stands `null`, or something from `{` to `}`. That is one value, unless the request has members there that kube-apiserver
 *   doesn't write there: those with an object as value are in the head already, and those with a string don't end in `}`.
 * A body that has a member twice, or members that AdmissionReview v1 does not know, is not kube-apiserver's, and is held to the first.
 * @returns undefined where the body is anything else
 */
function readInOrder(body: Buffer): RawReview | undefined {
  const objectKeyAt = body.indexOf(OBJECT);
  if (objectKeyAt === -1) return undefined;
  const objectAt = objectKeyAt + OBJECT.length - 1;
  const tailFrom = Math.max(objectAt, body.length - TAIL_BYTES);
  const end = body.toString('latin1', tailFrom, body.length);
  const dryRunAt = Math.max(...DRY_RUN.map((key) => end.lastIndexOf(key)));
  const closeAt = end.endsWith('\n') ? end.length - 3 : end.length - 2;
  if (dryRunAt === -1 || !end.startsWith('}}', closeAt)) return undefined;
  const tailAt = tailFrom + dryRunAt;
  const oldKeyAt = findOldObject(body, objectAt, tailAt);
  if (oldKeyAt === -1) return undefined;
  const oldAt = oldKeyAt + OLD_OBJECT.length;
  const oldIsNull = tailAt - oldAt === 4 && body.toString('latin1', oldAt, tailAt) === 'null';
  if (!oldIsNull && (body[oldAt] !== 0x7b || body[tailAt - 1] !== 0x7d)) return undefined;
  try {
    const head = JSON.parse(`${body.toString('utf8', 0, objectAt)}null}}`) as JsonObject;
    const envelope = requestInOrder(head);
    if (envelope === undefined) return undefined;
    const tail = JSON.parse(`{${body.toString('utf8', tailAt + 1, tailFrom + closeAt)}}`) as JsonObject;
    if (Object.keys(tail).length !== 2) return undefined;
    const { dryRun, options } = tail as { dryRun: JsonValue; options: JsonValue };
    return {
      envelope: Object.assign(envelope, { dryRun, options }),
      object: parseRecent(envelope, body, objectAt, oldKeyAt),
      oldObject: oldIsNull ? () => undefined : () => parseOldObject(body, oldAt, tailAt),
    };
  } catch {
    return undefined;
  }
}

/** The old object is about as long as the new one, so the search begins before the middle; the object being one value proves the place. */
function findOldObject(body: Buffer, from: number, to: number): number {
  const guess = from + Math.floor((to - from) * 0.4);
  const near = body.indexOf(OLD_OBJECT, guess);
  if (near !== -1 && near < to) return near;
  const anywhere = body.indexOf(OLD_OBJECT, from);
  return anywhere < to ? anywhere : -1;
}

function requestInOrder(review: JsonObject): JsonObject | undefined {
  const { kind, apiVersion, request } = review;
  if (kind !== 'AdmissionReview' || apiVersion !== API_VERSION || !isRecord(request)) return undefined;
  if (Object.keys(review).join() !== 'kind,apiVersion,request') return undefined;
  let next = 0;
  const keys = Object.keys(request);
  for (const name of ENVELOPE) {
    const isOptional = name.endsWith('?');
    if (keys[next] === (isOptional ? name.slice(0, -1) : name)) next += 1;
    else if (!isOptional) return undefined;
  }
  return request;
}

function parseOldObject(body: Buffer, start: number, end: number): JsonValue | undefined {
  try {
    return parseObject(body, start, end);
  } catch {
    return readWhole(body).oldObject();
  }
}

/**
 * One object comes several times: to the mutating hook and to both validating ones, as a dry run and then for good, and as the pods of one
 * template. The last few are kept with what was read of them; nobody changes a parsed object, so they can be shared.
 */
const recent = keepRecent<{ readonly bytes: Buffer; readonly object: JsonValue }>();
const MAX_RECENT_BODY_BYTES = 128 * 1024;
/** Nothing that may hold a secret is kept. */
const RECENT_KINDS: ReadonlySet<unknown> = new Set(['Deployment', 'Pod']);

function parseRecent(envelope: JsonObject, body: Buffer, start: number, end: number): JsonValue {
  const kind = isRecord(envelope.kind) ? envelope.kind.kind : undefined;
  if (!RECENT_KINDS.has(kind) || body.length > MAX_RECENT_BODY_BYTES) return parseObject(body, start, end);
  const bytes = body.subarray(start, end);
  const known = recent.find((entry) => entry.bytes.length === bytes.length && entry.bytes.equals(bytes));
  if (known !== undefined) return known.object;
  return recent.add({ bytes, object: parseObject(body, start, end) }).object;
}

/**
 * Parses an object and empties `metadata.managedFields`, which is often as long as the rest. Where the object is of a Kubernetes type (not
 * a custom resource, whose keys are sorted), the list is cut out before it is parsed: it ends at the first `]` behind it, because it holds
 * no other list; were that `]` part of a string or of an inner list, `},"spec":{` could not follow.
 * @throws {SyntaxError}
 */
function parseObject(body: Buffer, start: number, end: number): JsonValue {
  const bytes = body.subarray(start, end);
  const listEnd = bytes.indexOf(END_OF_METADATA) + 1;
  const listStart = listEnd === 0 ? -1 : bytes.lastIndexOf(MANAGED_FIELDS, listEnd) + MANAGED_FIELDS.length;
  if (listStart >= MANAGED_FIELDS.length && bytes.indexOf(0x5d, listStart) === listEnd) {
    try {
      const object = JSON.parse(
        `${bytes.toString('utf8', 0, listStart)}"${CUT_MARK}"${bytes.toString('utf8', listEnd, bytes.length)}`,
      ) as JsonObject;
      const metadata = object.metadata;
      const list = isRecord(metadata) ? metadata.managedFields : undefined;
      if (Array.isArray(list) && list[0] === CUT_MARK) {
        list.length = 0;
        return object;
      }
    } catch {
      // Then the list was not what it looked like.
    }
  }
  return emptyManagedFields(JSON.parse(bytes.toString('utf8', 0, bytes.length)) as JsonValue) as JsonValue;
}

function emptyManagedFields(object: JsonValue | undefined): JsonValue | undefined {
  const metadata = isRecord(object) ? object.metadata : undefined;
  if (isRecord(metadata) && Array.isArray(metadata.managedFields)) metadata.managedFields = [];
  return object;
}

function readUser(value: JsonValue | undefined): UserInfo {
  const user = record(value, 'request.userInfo');
  const extra = record(user.extra, 'request.userInfo.extra');
  for (const key in extra) texts(extra[key], () => `request.userInfo.extra[${quote(key)}]`);
  return {
    username: text(user.username, 'request.userInfo.username'),
    uid: text(user.uid, 'request.userInfo.uid'),
    groups: texts(user.groups, () => 'request.userInfo.groups'),
    extra: extra as Readonly<Record<string, readonly string[]>>,
  };
}

/** Checks what every decision relies on, the metadata; what stands in the rest of an object is for the decision to judge. */
function kubernetesObject(value: JsonValue | undefined, path: string): KubernetesObject | undefined {
  if (value === undefined || value === null) return undefined;
  const object = record(value, path);
  text(object.apiVersion, `${path}.apiVersion`);
  text(object.kind, `${path}.kind`);
  const metadata = record(object.metadata, `${path}.metadata`);
  for (const field of METADATA_TEXTS) text(metadata[field], `${path}.metadata.${field}`);
  for (const field of METADATA_MAPS) {
    const map = record(metadata[field], `${path}.metadata.${field}`);
    for (const key in map) {
      if (typeof map[key] !== 'string')
        throw mustBe(`${path}.metadata.${field}[${quote(key)}]`, 'a string', map[key]);
    }
  }
  const owners = metadata.ownerReferences ?? [];
  if (!Array.isArray(owners)) throw mustBe(`${path}.metadata.ownerReferences`, 'a list', owners);
  owners.forEach((owner, index) => {
    if (!isRecord(owner)) throw mustBe(`${path}.metadata.ownerReferences[${index}]`, 'an object', owner);
  });
  return object as KubernetesObject;
}

const METADATA_TEXTS = ['name', 'generateName', 'namespace', 'uid', 'resourceVersion', 'deletionTimestamp'];
const METADATA_MAPS = ['labels', 'annotations'];

function isRecord(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isOperation(value: string): value is AdmissionRequest['operation'] {
  return (OPERATIONS as readonly string[]).includes(value);
}

/** As Go reads JSON: null is the same as absent. */
function text(value: JsonValue | undefined, path: string): string {
  if (typeof value === 'string') return value;
  if (value === undefined || value === null) return '';
  throw mustBe(path, 'a string', value);
}

function flag(value: JsonValue | undefined, path: string): boolean {
  if (typeof value === 'boolean') return value;
  if (value === undefined || value === null) return false;
  throw mustBe(path, 'true or false', value);
}

const EMPTY: JsonObject = Object.freeze({});

function record(value: JsonValue | undefined, path: string): JsonObject {
  if (isRecord(value)) return value;
  if (value === undefined || value === null) return EMPTY;
  throw mustBe(path, 'an object', value);
}

function texts(value: JsonValue | undefined, path: () => string): readonly string[] {
  const list = value ?? [];
  if (!Array.isArray(list)) throw mustBe(path(), 'a list of strings', list);
  for (const item of list) if (typeof item !== 'string') throw mustBe(path(), 'a list of strings', list);
  return list as string[];
}

function required<T extends string | KubernetesObject | undefined>(value: T, path: string): NonNullable<T> {
  if (value === undefined || value === '') throw new ReviewError('REVIEW_INVALID', `${path} is missing`);
  return value as NonNullable<T>;
}

function mustBe(path: string, expected: string, value: JsonValue | undefined): ReviewError {
  const found = Array.isArray(value) ? 'a list' : isRecord(value) ? 'an object' : `a ${typeof value}`;
  return new ReviewError('REVIEW_INVALID', `${path} must be ${expected}, not ${found}`);
}

/** What came from outside, short enough for a message. */
function quote(value: JsonValue | undefined): string {
  const json = typeof value === 'string' ? JSON.stringify(value.slice(0, 100)) : typeof value;
  return value === undefined || value === null ? '(none)' : json;
}
