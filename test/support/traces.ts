/** Traces for tests: spans that end in memory instead of a collector, and a server that makes them. */
import { type ExportResult, ExportResultCode } from '@opentelemetry/core';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';

import { buildMetrics } from '../../src/metrics.ts';
import { type AdmissionServer, buildServer, type ServerDeps } from '../../src/server.ts';
import { openTracing, type Tracing, type TracingOptions } from '../../src/tracing.ts';
import { testCa } from './certificates.ts';
import { type TestLog, testLog } from './log.ts';

const tls = await (await testCa()).issue();

export interface TestTracing {
  readonly tracing: Tracing;
  readonly log: TestLog;
  /** A server of these hooks that logs there; it is never listened to. */
  serve(hooks: ServerDeps['hooks']): AdmissionServer;
}

/** Tracing with a log of its own; everything else as `options` say, or as it is by itself. */
export function openTestTracing(options: Partial<TracingOptions>): TestTracing {
  const log = testLog();
  const tracing = openTracing({
    endpoint: undefined,
    samplingRatio: undefined,
    env: {},
    logger: log.logger,
    version: '1.2.3',
    instance: 'pod-1',
    ...options,
  });
  return {
    tracing,
    log,
    serve: (hooks) =>
      buildServer({
        hooks,
        tls,
        log: log.logger,
        metrics: buildMetrics({
          version: '',
          ready: () => undefined,
          certificateExpiry: () => undefined,
          stateHealth: () => undefined,
          processMetrics: false,
        }),
        isDraining: () => false,
        tracer: tracing,
      }),
  };
}

/** Takes the place of a collector; all spans are there once tracing is closed. */
export function buildSink(): { readonly exporter: SpanExporter; readonly spans: readonly ReadableSpan[] } {
  const spans: ReadableSpan[] = [];
  return {
    spans,
    exporter: {
      export(batch: ReadableSpan[], done: (result: ExportResult) => void) {
        spans.push(...batch);
        done({ code: ExportResultCode.SUCCESS });
      },
      shutdown: () => Promise.resolve(),
    },
  };
}
