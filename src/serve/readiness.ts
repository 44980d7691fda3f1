/** When requests may be sent here: the state is in memory, and kube-apiserver would believe the certificate. */
import type { AddressInfo } from 'node:net';
import type { Registrar } from '../certs/registrar.ts';
import type { State } from '../state/state.ts';
import type { ServedCertificates } from './certificates.ts';
import { callSelf } from './self-check.ts';

export interface ReadinessParts {
  readonly isDraining: () => boolean;
  readonly state: Pick<State, 'health'>;
  readonly certificates: ServedCertificates;
  /** Undefined where the server runs without a cluster. */
  readonly registrar: Pick<Registrar, 'published' | 'problem'> | undefined;
  /** Where the hooks are served; null before they are. */
  readonly address: () => AddressInfo | string | null;
  /** Told each time that somebody asks. */
  readonly onAnswer?: (ready: boolean) => void;
}

/** Probes come every 2 s, and wait as long. */
const CALL_TIMEOUT_MS = 1500;
const ANY_ADDRESS: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

/** @returns a function that says why no requests should be sent here, one line a reason */
export function buildReadiness(parts: ReadinessParts): () => Promise<string[]> {
  const { isDraining, state, certificates, registrar } = parts;
  let wasBelieved = false;
  return async () => {
    const health = state.health();
    const reasons = [
      ...(isDraining() ? ['shutting down'] : []),
      ...(health.synced ? [] : ['the state is not complete yet', ...health.problems]),
      ...certificates.notReady(),
      ...(await callItself()),
    ];
    parts.onAnswer?.(reasons.length === 0);
    return reasons;
  };

  async function callItself(): Promise<string[]> {
    const address = parts.address();
    if (address === null || typeof address === 'string') return ['the hooks are not served yet'];
    const published = registrar?.published();
    if (published === undefined && certificates.selfManaged)
      return [
        `it is not known yet what kube-apiserver trusts: ${registrar?.problem() ?? 'it was not asked yet'}`,
      ];
    const problem = await callSelf({
      host: ANY_ADDRESS[address.address] ?? address.address,
      port: address.port,
      trusted: published?.byAll,
      serverNames: published?.serverNames ?? [],
      handshakeOnly: certificates.current().clientCa !== undefined,
      ignoreTimes: certificates.selfManaged,
      timeoutMs: CALL_TIMEOUT_MS,
    });
    if (problem === undefined) wasBelieved = true;
    // Under load all replicas would be slow at once, and with none ready there is nobody at all.
    if (problem === undefined || (wasBelieved && !problem.judged)) return [];
    return [problem.text];
  }
}
