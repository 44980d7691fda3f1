/** The Secrets of fluent-bit: KKP's, which is only made where it is missing, and ours beside it, with what KKP would revert. */
import * as names from '../../../audit/names.ts';
import { fluentBitData, ownSecret } from '../../objects.ts';
import { hashData } from '../../view.ts';
import { type ActionName, secretsPath, writeOwn } from '../action.ts';
import type { Finding } from '../drift.ts';
import type { Situation } from '../facts.ts';

export function findFluentBitDrift(situation: Situation): Finding[] {
  const { wantsSidecar, settings, fluentBit, ownSecrets, cluster, deployment } = situation;
  if (!wantsSidecar) return [];
  const data = fluentBitData(settings);
  const content = hashData(data);
  const own = ownSecrets.get(names.FLUENTBIT_SECRET);
  const tuned = ownSecrets.get(names.FLUENTBIT_TUNED_SECRET);
  const write = (name: ActionName, secret: string) =>
    writeOwn(name, secretsPath(cluster.namespace), ownSecrets.get(secret), ownSecret(secret, data));

  const findings: Finding[] = [];
  if (fluentBit === undefined && own === undefined) {
    if (deployment !== undefined)
      findings.push({
        drift: 'FLUENTBIT_MISSING',
        action: write('createFluentBit', names.FLUENTBIT_SECRET),
      });
  } else if (own !== undefined && own.content !== content && deployment?.tracksRevisions === false) {
    // A KKP that has taken it over keeps it by itself.
    findings.push({ drift: 'FLUENTBIT_OUTDATED', action: write('updateFluentBit', names.FLUENTBIT_SECRET) });
  }
  if (tuned?.content !== content)
    findings.push({ drift: 'TUNING_OUTDATED', action: write('writeTuning', names.FLUENTBIT_TUNED_SECRET) });
  return findings;
}
