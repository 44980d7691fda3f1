/** Which audit policy holds by settings. Pure. */
import { PRESETS } from '../policy/index.ts';
import type { Settings } from './settings.ts';

/** A policy and where it came from, such as "preset metadata". */
export interface WantedPolicy {
  readonly text: string;
  readonly from: string;
}

/** The policy for a ConfigMap that is missing: the preset, the datacenter's own, or the server's default, which is KKP's as well. */
export function renderPolicy(settings: Settings): WantedPolicy {
  const { policy } = settings.options;
  const preset = settings.policyPreset.value;
  if (preset === '' && policy.text !== '')
    return { text: policy.text, from: 'the policy of the configuration' };
  const name = preset || policy.preset || 'metadata';
  return { text: PRESETS.get(name) ?? PRESETS.get('metadata') ?? '', from: `preset ${name}` };
}
