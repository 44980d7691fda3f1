/** Outputs of fluent-bit that keep no audit events, or not all of an event. Pure. */
import { type EventKeys, isEventKey } from './filter-losses.ts';
import type { Section } from './fluentbit.ts';
import { bytesOf, hasVariable, isOff, lastOf, mayBeLog, pluginOf, valuesOf } from './fluentbit-values.ts';

/** Outputs that carry events to somewhere, and the keys that say where to; none where they know it, or ask their cloud. */
const OUTPUTS: ReadonlyMap<string, readonly string[]> = new Map<string, readonly string[]>([
  ...['datadog', 'logdna', 'newrelic', 'nrlogs', 'stackdriver', 'stdout'].map(
    (name): [string, readonly string[]] => [name, []],
  ),
  ...[
    ...['gelf', 'http', 'influxdb', 'kafka-rest', 'loki', 'nats', 'opensearch', 'opentelemetry', 'pgsql'],
    ...['skywalking', 'splunk', 'syslog', 'tcp', 'udp', 'websocket'],
  ].map((name): [string, readonly string[]] => [name, ['host']]),
  ['es', ['host', 'cloud_id']],
  ['forward', ['host', 'upstream']],
  ['azure', ['customer_id']],
  ['azure_blob', ['account_name']],
  ['azure_kusto', ['ingestion_endpoint']],
  ['azure_logs_ingestion', ['dce_url']],
  ['bigquery', ['dataset_id']],
  ['chronicle', ['customer_id']],
  ['cloudwatch', ['log_group_name']],
  ['cloudwatch_logs', ['log_group_name']],
  ['firehose', ['delivery_stream']],
  ['kafka', ['brokers']],
  ['kinesis', ['stream']],
  ['kinesis_firehose', ['delivery_stream']],
  ['kinesis_streams', ['stream']],
  ['oracle_log_analytics', ['namespace']],
  ['s3', ['bucket']],
  ['slack', ['webhook']],
  ['td', ['database']],
]);

/** Outputs after which nothing is left of an event, and why. */
const KEEPERS_OF_NOTHING: ReadonlyMap<string, string> = new Map([
  ...['null', 'counter', 'flowcounter', 'plot'].map((name) => [name, `${name} keeps nothing`] as const),
  ['file', 'a file in the container is gone with it'],
  ['vivo_exporter', 'vivo_exporter keeps events in memory until others push them out'],
]);

/** Options that choose one key of the record, and only that is sent. */
const CHOICES: Readonly<Record<string, readonly string[]>> = {
  chronicle: ['log_key'],
  cloudwatch: ['log_key'],
  cloudwatch_logs: ['log_key'],
  http: ['body_key'],
  kafka: ['raw_log_key'],
  kinesis_firehose: ['log_key'],
  kinesis_streams: ['log_key'],
  s3: ['log_key'],
  splunk: ['event_key'],
  tcp: ['raw_message_key'],
  udp: ['raw_message_key'],
};

/** Nobody but the pod itself. */
const LOOPBACK = /^(localhost|127\.|0\.0\.0\.0|::1?$|\[::1?\]|0:0:0:0:0:0:0:[01]$)/i;
const ADDRESSES = ['host', 'brokers', 'logdna_host'];

/** Above what a slow output holds back for a moment; what is beyond is dropped, the oldest first. */
const MIN_BACKLOG_BYTES = 1024 * 1024;

/** What an output does to the audit log, or to fluent-bit as a whole, whatever other outputs keep. */
export function findOutputHarm(output: Section): string | undefined {
  const name = pluginOf(output);
  if (name === 'exit') return 'exit ends fluent-bit';
  if (name !== 'file' && name !== 'plot') return undefined;
  // Without a name, the file is called as the tag.
  const path = [lastOf(output, 'path'), lastOf(output, 'file')]
    .filter((part) => part !== undefined)
    .join('/');
  return mayBeLog(path) ? `${name} may write into the audit log` : undefined;
}

/**
 * Why events that reach an output are kept nowhere, or only in part; undefined where they are kept.
 * @param event where an event is behind all filters
 */
export function findOutputLoss(output: Section, event: EventKeys): string | undefined {
  const name = pluginOf(output);
  const nothing = KEEPERS_OF_NOTHING.get(name);
  if (nothing !== undefined) return nothing;
  const destinations = OUTPUTS.get(name);
  if (destinations === undefined) return 'its kind is not known to carry events on';
  if (destinations.length > 0 && valuesOf(output, ...destinations).length === 0)
    return `${name} has no ${destinations.join(' or ')}`;
  const addresses = valuesOf(output, ...destinations, ...ADDRESSES);
  if (name !== 'stdout' && addresses.length > 0 && addresses.every((value) => LOOPBACK.test(value)))
    return `${name} leads back into the pod`;
  if (valuesOf(output, ...(CHOICES[name] ?? [])).some((key) => !isEventKey(event, key)))
    return `${name} sends another key than the event's`;
  const removed = name === 'loki' ? valuesOf(output, 'remove_keys').flatMap((keys) => keys.split(',')) : [];
  // Of `$user['name']` a part goes.
  const isPart = (key: string): boolean =>
    hasVariable(key) || isEventKey(event, key.trim().replace(/\[.*$/s, ''));
  if (removed.some((key) => event.isScattered || isPart(key)))
    return `${name} takes away what holds the event`;
  const backlog = lastOf(output, 'storage.total_limit_size');
  if (!isOff(backlog) && bytesOf(backlog ?? '') !== 0 && !(bytesOf(backlog ?? '') >= MIN_BACKLOG_BYTES))
    return `storage.total_limit_size is below ${MIN_BACKLOG_BYTES} bytes, so what waits is dropped`;
  return undefined;
}
