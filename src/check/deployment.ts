/** What the Deployment of this software says of how it runs. */
import { locate } from '../audit/mounts.ts';
import type { Container, Deployment } from '../kubernetes.ts';
import { podSpecOf } from '../workload.ts';
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

const CONTAINER = 'webhook';

const serverOf = (deployment: Deployment): Container | undefined => {
  const { containers = [] } = podSpecOf(deployment);
  return containers.find(({ name }) => name === CONTAINER) ?? containers[0];
};

/** The value of an option of `serve`, `--name=value` or `--name value`; the last one counts. */
function optionOf({ args = [] }: Container, name: string): string | undefined {
  const values = args.flatMap((arg, i) => {
    if (arg.startsWith(`${name}=`)) return arg.slice(name.length + 1);
    return arg === name ? (args[i + 1] ?? '') : [];
  });
  return values.at(-1);
}

/** Whether the replicas have a CA of their own; otherwise the certificate is mounted. */
export const isSelfManaged = (deployment: Deployment): boolean => {
  const server = serverOf(deployment);
  return server !== undefined && optionOf(server, '--certificates') === 'self';
};

/** The Secret and its key that the served certificate is mounted from; undefined where it comes from elsewhere. */
export function servedFrom(
  deployment: Deployment,
): { readonly secret: string; readonly key: string } | undefined {
  const server = serverOf(deployment);
  const file = server === undefined ? undefined : optionOf(server, '--tls-cert');
  if (server === undefined || file === undefined) return undefined;
  const { located } = locate(server, podSpecOf(deployment).volumes ?? [], file);
  const { secretName, items } = located?.volume.secret ?? {};
  if (located === undefined || secretName === undefined) return undefined;
  const renamed = items?.find(({ path }) => path === located.path)?.key;
  return { secret: secretName, key: renamed ?? located.path };
}
