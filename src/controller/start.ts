/** The controller, elected: what `serve` starts beside the hooks where a cluster is the source of the state. */
import type { Registry } from 'prom-client';
import { LeaderElection } from '../kube/lease.ts';
import { Controller, type ControllerOptions } from './controller.ts';
import { type ControllerMetrics, registerControllerMetrics } from './metrics.ts';

export const LEASE_NAME = 'kkp-audit-webhook-controller';

export interface ControllerStart extends Omit<ControllerOptions, 'isLeader'> {
  readonly registry: Registry;
  /** Where the Lease is: the namespace of this software. */
  readonly namespace: string;
  /** The replica as people know it: the name of its pod. */
  readonly identity: string;
}

export interface RunningController {
  readonly controller: Controller;
  readonly isLeader: () => boolean;
  /** Ends the work under way and lets go of the Lease. */
  close(): Promise<void>;
}

/** Stands for election, and acts while elected. */
export function startController(options: ControllerStart): RunningController {
  const { client, logger, namespace, identity, registry } = options;
  let metrics: ControllerMetrics | undefined;
  const controller = new Controller({ ...options, isLeader: () => election.isLeader() }, () => metrics);
  const election = new LeaderElection({
    client,
    logger,
    namespace,
    name: LEASE_NAME,
    identity,
    lead: (signal) => controller.lead(signal),
  });
  metrics = registerControllerMetrics(registry, {
    isLeader: () => election.isLeader(),
    health: () => controller.health(),
    assessments: () => controller.assessments(),
    progress: () => controller.progress(),
    eventsDropped: () => options.events.dropped,
  });
  election.start();
  return { controller, isLeader: () => election.isLeader(), close: () => election.close() };
}
