/** fastify's compilers of JSON schemas, left out. */
import type { FastifyServerOptions } from 'fastify';

/** No route has a schema. Without this option fastify loads Ajv and fast-json-stringify all the same: some 100 modules at every start. */
export const NO_SCHEMAS: NonNullable<FastifyServerOptions['schemaController']> = {
  compilersFactory: { buildValidator: refuseSchema, buildSerializer: refuseSchema },
};

function refuseSchema(): never {
  throw new Error('a route has a schema, and the server is built without their compilers (no-schemas.ts)');
}
