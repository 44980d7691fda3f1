/** What the Deployment of this software says of how it runs. */
import { locate } from '../audit/mounts.ts';
import type { Container, Deployment, Volume } from '../kubernetes.ts';
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

interface Mounted {
  readonly name: string;
  readonly key: string;
}

/** The object and its key that the file of an option of `serve` is mounted from; undefined where it comes from elsewhere. */
function mountedFrom(
  deployment: Deployment,
  option: string,
  nameOf: (volume: Volume) => string | undefined,
): Mounted | undefined {
  const server = serverOf(deployment);
  const file = server === undefined ? undefined : optionOf(server, option);
  if (server === undefined || file === undefined) return undefined;
  const { located } = locate(server, podSpecOf(deployment).volumes ?? [], file);
  const name = located === undefined ? undefined : nameOf(located.volume);
  if (located === undefined || name === undefined) return undefined;
  const { secret, configMap } = located.volume;
  const renamed = (secret ?? configMap)?.items?.find(({ path }) => path === located.path)?.key;
  return { name, key: renamed ?? located.path };
}

/** The Secret of the certificate that is served. */
export const servedFrom = (deployment: Deployment): Mounted | undefined =>
  mountedFrom(deployment, '--tls-cert', ({ secret }) => secret?.secretName);

/** The ConfigMap of the settings. */
export const configuredFrom = (deployment: Deployment): Mounted | undefined =>
  mountedFrom(deployment, '--config', ({ configMap }) => configMap?.name);
