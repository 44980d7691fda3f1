/** JSON Schema. In a module of its own, to be loaded only where there is something to check: it would double the time of a start. */
import { Ajv, type ValidateFunction } from 'ajv';

/**
 * @returns says whether a value is as the schema wants it; every fault of the last value is in its `errors`
 */
export function compileSchema(schema: object): ValidateFunction {
  return new Ajv({ allErrors: true, strict: false }).compile(schema);
}
