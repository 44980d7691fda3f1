/** About which clusters of a datacenter a roll-out may be begun. Pure; counted from the annotations on the Clusters, so a new leader counts alike. */
import type { Assessment } from './assess.ts';

/** How the roll-out of a datacenter stands. */
export interface Progress {
  readonly maxInFlight: number;
  readonly inFlight: number;
  readonly failing: number;
  readonly waiting: number;
  /** No more clusters are begun, because too many failed. */
  readonly paused: boolean;
}

export interface FleetPlan {
  readonly progress: ReadonlyMap<string, Progress>;
  /** Those that may begin now, in the order of their names. */
  readonly starts: readonly Assessment[];
}

/**
 * Decides which clusters may begin.
 *
 * | failing in the datacenter  | in flight, failing included | then                   |
 * |----------------------------|-----------------------------|------------------------|
 * | maxFailures or more        | -                           | none: paused           |
 * | fewer                      | maxInFlight or more         | none                   |
 * | fewer                      | fewer                       | as many as are missing |
 */
export function planFleet(
  assessments: Iterable<Assessment>,
  rolloutOf: (datacenter: string) => { readonly maxInFlight: number; readonly maxFailures: number },
): FleetPlan {
  const byDatacenter = new Map<string, { inFlight: number; failing: number; waiting: Assessment[] }>();
  for (const assessment of assessments) {
    let counts = byDatacenter.get(assessment.datacenter);
    if (counts === undefined) {
      counts = { inFlight: 0, failing: 0, waiting: [] };
      byDatacenter.set(assessment.datacenter, counts);
    }
    if (assessment.state === 'rolling' || assessment.state === 'failing') counts.inFlight += 1;
    if (assessment.state === 'failing') counts.failing += 1;
    if (assessment.start !== undefined) counts.waiting.push(assessment);
  }
  const progress = new Map<string, Progress>();
  const starts: Assessment[] = [];
  for (const [datacenter, { inFlight, failing, waiting }] of byDatacenter) {
    const { maxInFlight, maxFailures } = rolloutOf(datacenter);
    // As many failures as there are places stop it as well.
    const paused = failing >= Math.min(maxFailures, maxInFlight);
    progress.set(datacenter, { maxInFlight, inFlight, failing, waiting: waiting.length, paused });
    if (paused || inFlight >= maxInFlight) continue;
    waiting.sort((a, b) => (a.cluster < b.cluster ? -1 : Number(a.cluster > b.cluster)));
    starts.push(...waiting.slice(0, maxInFlight - inFlight));
  }
  return { progress, starts };
}
