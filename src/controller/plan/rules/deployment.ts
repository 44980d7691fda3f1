/**
 * The Deployment `apiserver` and its pods: made to pass the hooks, or to start again. The first that fits:
 *
 * | the Deployment                             | pods                                          | then                                       |
 * |--------------------------------------------|-----------------------------------------------|--------------------------------------------|
 * | its Cluster is not aligned                 | -                                             | nothing: its owner has not been told yet   |
 * | judged by settings of another day          | or those                                      | read again                                 |
 * | the hook would change it                   | -                                             | an empty write, once its owner has had its time |
 * | not complete                               | -                                             | wait                                       |
 * | complete                                   | not effective, with old content, or left over | start them again                           |
 * | complete                                   | as they should be                             | note what they have read                   |
 */
import * as names from '../../../audit/names.ts';
import { resourcePath } from '../../../kubernetes.ts';
import { fluentBitData } from '../../objects.ts';
import {
  CHECKSUM_ANNOTATION,
  type DeploymentView,
  hash,
  hashData,
  RESTARTED_ANNOTATION,
} from '../../view.ts';
import type { Action } from '../action.ts';
import type { DriftCode, Finding } from '../drift.ts';
import type { Situation } from '../facts.ts';

export function findDeploymentDrift(situation: Situation): Finding[] {
  const { deployment, alignment, isStale, flight } = situation;
  if (deployment === undefined || deployment.deleting || alignment !== undefined) return [];
  if (isStale) return [{ action: { name: 'refresh', method: 'REFRESH', path: pathOf(deployment) } }];
  if (deployment.hookChanges) {
    const drift = 'DEPLOYMENT_DIFFERS';
    return [flight?.isGraceOver === true ? { drift, action: nudge(deployment) } : { drift }];
  }
  if (!deployment.isComplete) return [];
  const checksum = checksumOf(situation, deployment);
  const drift = findPodDrift(situation, deployment, checksum);
  const action =
    drift.length > 0 ? restart(situation, deployment, checksum) : noteChecksum(deployment, checksum);
  return [...drift.map((code) => ({ drift: code })), ...(action === undefined ? [] : [{ action }])];
}

/** What is wrong with the pods of a Deployment that is as it should be. */
function findPodDrift(
  { livePods, wantsSidecar, isLeft }: Situation,
  deployment: DeploymentView,
  checksum: string,
): DriftCode[] {
  const keepsSidecar = !wantsSidecar && !deployment.hasSidecar && livePods.some((pod) => pod.hasSidecar);
  const found: readonly (readonly [DriftCode, boolean])[] = [
    ['PODS_INEFFECTIVE', livePods.some(({ codes }) => codes.length > 0)],
    ['PODS_LEFTOVER', keepsSidecar],
    ['PODS_OUTDATED', isOutdated(deployment, checksum, isLeft)],
  ];
  return found.flatMap(([code, isWrong]) => (isWrong ? [code] : []));
}

/** Of what pods read once, at their start, and of their settings; "" where the owner sees to it that they start again. */
function checksumOf(situation: Situation, deployment: DeploymentView): string {
  const { policy, isWanted, wantsSidecar, settings, key } = situation;
  if (!isWanted || deployment.tracksRevisions || policy === undefined) return '';
  const fluentBit = wantsSidecar ? hashData(fluentBitData(settings)) : '';
  return `${hash(JSON.stringify([policy.content, fluentBit]))}-${key}`;
}

/** Settings that are in the Deployment roll its pods by themselves; those of a Deployment that is left to its owner do not. */
function isOutdated(deployment: DeploymentView, checksum: string, isLeft: boolean): boolean {
  if (checksum === '' || deployment.checksum === '') return false;
  const [content, key] = checksum.split('-');
  const [notedContent, notedKey] = deployment.checksum.split('-');
  return content !== notedContent || (isLeft && key !== notedKey);
}

const pathOf = ({ namespace }: DeploymentView): string =>
  resourcePath('apps/v1', 'deployments', { namespace, name: names.APISERVER });

/** An empty patch: it passes the hooks, and nothing is stored unless they change something. */
const nudge = (deployment: DeploymentView): Action => ({
  name: 'nudgeDeployment',
  method: 'PATCH',
  path: pathOf(deployment),
  body: {},
  occasion: `${deployment.generation} ${deployment.key}`,
});

/** The template's annotation says for what it was; once more after each timeout in which that did not help. */
function restart(
  { key, flight }: Situation,
  deployment: DeploymentView,
  checksum: string,
): Action | undefined {
  if (flight === undefined) return undefined;
  const value = `${hash(JSON.stringify([key, checksum, flight.sinceMs]))}-${flight.timeouts}`;
  if (deployment.restartedFor === value) return undefined;
  return {
    name: 'restartDeployment',
    method: 'PATCH',
    path: pathOf(deployment),
    verify: true,
    body: {
      metadata: {
        resourceVersion: deployment.resourceVersion,
        ...(checksum !== '' && { annotations: { [CHECKSUM_ANNOTATION]: checksum } }),
      },
      spec: { template: { metadata: { annotations: { [RESTARTED_ANNOTATION]: value } } } },
    },
  };
}

function noteChecksum(deployment: DeploymentView, checksum: string): Action | undefined {
  if (checksum === deployment.checksum) return undefined;
  return {
    name: 'noteChecksum',
    method: 'PATCH',
    path: pathOf(deployment),
    body: {
      metadata: {
        resourceVersion: deployment.resourceVersion,
        annotations: { [CHECKSUM_ANNOTATION]: checksum === '' ? null : checksum },
      },
    },
  };
}
