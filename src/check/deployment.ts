/** What the Deployment of this software says of how it runs. */
import type { Snapshot } from './snapshot.ts';
import { ofRead, type Verdict, warning } from './verdict.ts';

export type OwnDeployment = Extract<Snapshot['deployment'], { readonly found: true }>['value'];

/**
 * Judges by the Deployment. That it is not there is for the check `replicas` to say; whoever needs it for something else can't tell.
 * @param what can't be told without it
 */
export const ofDeployment = (
  { deployment }: Pick<Snapshot, 'deployment'>,
  what: string,
  judge: (deployment: OwnDeployment) => Verdict,
): Verdict =>
  ofRead(
    deployment,
    'the Deployment of this software',
    judge,
    warning(`${what} can't be told without the Deployment`, 'Give --namespace and --name of the release.'),
  );
