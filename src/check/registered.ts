/** The webhook configurations of this software, as kube-apiserver has them, for the checks that judge them. */
import type { Configuration, WebhookEntry } from '../certs/publish.ts';
import type { Snapshot } from './snapshot.ts';
import { ofRead, type Verdict } from './verdict.ts';

export const REPAIR_CHART = 'Upgrade the release, or install it again: the chart registers the hooks.';

/** The entries of all of them, or of those with that name. */
export const entriesOf = (configurations: readonly Configuration[], name?: string): readonly WebhookEntry[] =>
  configurations
    .filter((configuration) => name === undefined || configuration.name === name)
    .flatMap(({ object }) => object.webhooks ?? []);

export const ofHooks =
  (judge: (configurations: readonly Configuration[], snapshot: Snapshot) => Verdict) =>
  (snapshot: Snapshot): Verdict =>
    ofRead(snapshot.configurations, 'the webhook configurations', (configurations) =>
      judge(configurations, snapshot),
    );
