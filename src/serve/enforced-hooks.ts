/** The file with the entries that are switched on once the hooks answer: `mutating` and `validating`, lists of webhooks as in their configurations. */
import { load } from 'js-yaml';
import { CONFIGURATION_KINDS, type EnforcedHooks } from '../certs/publish.ts';
import { InputError } from '../input.ts';
import { isJsonObject, type JsonObject } from '../kubernetes.ts';

/** @throws {InputError} naming the file and the field */
export function readEnforcedHooks(text: string, file: string): EnforcedHooks {
  let value: unknown;
  try {
    value = load(text);
  } catch (error) {
    throw new InputError([
      { file, line: 0, field: '', text: error instanceof Error ? error.message : String(error) },
    ]);
  }
  const [mutating, validating] = CONFIGURATION_KINDS.map((kind): readonly JsonObject[] => {
    const list = isJsonObject(value) ? value[kind] : undefined;
    const isList =
      Array.isArray(list) && list.every((hook) => isJsonObject(hook) && typeof hook.name === 'string');
    if (isList) return list as JsonObject[];
    throw new InputError([
      { file, line: 0, field: kind, text: 'expected a list of webhooks, each with a name' },
    ]);
  });
  return { mutating: mutating ?? [], validating: validating ?? [] };
}
