/**
 * Health, readiness and metrics, over plain HTTP on a port of their own: kubelet and Prometheus need no certificate, and neither can reach
 * the hooks by it.
 */
import type { Server } from 'node:http';
import fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import type { Registry } from 'prom-client';
import { NO_SCHEMAS } from './no-schemas.ts';

export interface OpsDeps {
  readonly registry: Registry;
  /** Why no requests should be sent here: one line a reason; empty when ready. */
  readonly notReady: () => readonly string[] | Promise<readonly string[]>;
  /** Why the process should be started anew: one line a reason; empty when healthy. */
  readonly unhealthy: () => readonly string[];
}

/**
 * Builds the server.
 * @returns a fastify instance: `listen()` it, or try it with `inject()`
 */
export function buildOpsServer(deps: OpsDeps): FastifyInstance<Server> {
  const app: FastifyInstance<Server> = fastify({
    http: { headersTimeout: 5000, maxHeaderSize: 8 * 1024, connectionsCheckingInterval: 2000 },
    requestTimeout: 10_000,
    bodyLimit: 1024,
    // The probes of a process on its way out must see "not ready", not a fault.
    return503OnClosing: false,
    forceCloseConnections: true,
    logger: false,
    schemaController: NO_SCHEMAS,
  });
  app.server.maxConnections = 100;
  const answer = (reply: FastifyReply, reasons: readonly string[]): FastifyReply =>
    reply
      .code(reasons.length === 0 ? 200 : 503)
      .type('text/plain; charset=utf-8')
      .send(reasons.length === 0 ? 'ok\n' : reasons.map((reason) => `${reason}\n`).join(''));
  app.get('/healthz', (_request, reply) => answer(reply, deps.unhealthy()));
  app.get('/readyz', async (_request, reply) => answer(reply, await deps.notReady()));
  app.get('/metrics', async (_request, reply) =>
    reply.type(deps.registry.contentType).send(await deps.registry.metrics()),
  );
  return app;
}
