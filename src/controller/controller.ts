/**
 * The controller as the rest of the process knows it: it is told to lead, and asked what it found. It works on the leader alone, and all that
 * matters is in the objects: another leader goes on where this one ended. What is in memory belongs to one term of leadership and only saves work.
 */
import { systemClock } from '../clock.ts';
import type { EventRecorder } from '../kube/events.ts';
import { Announcer } from './announce.ts';
import type { FleetHealth } from './fleet.ts';
import type { ControllerMetrics } from './metrics.ts';
import type { Assessment } from './plan/assess.ts';
import type { Progress } from './plan/budget.ts';
import { SETTLE_MS, Term, type TermOptions } from './term.ts';

export interface ControllerOptions
  extends Omit<TermOptions, 'announcer' | 'metrics' | 'clock' | 'nowMs'>,
    Partial<Pick<TermOptions, 'clock' | 'nowMs'>> {
  readonly events: EventRecorder;
}

export class Controller {
  readonly #options: TermOptions;
  #term: Term | undefined;

  /** @param metrics a function, because the metrics read from the controller */
  constructor(options: ControllerOptions, metrics: () => ControllerMetrics | undefined = () => undefined) {
    const announcer = new Announcer(options.logger, options.events);
    this.#options = { clock: systemClock, nowMs: Date.now, ...options, announcer, metrics };
  }

  /** What was last found of each cluster; empty where this replica does not lead. */
  assessments(): Iterable<Assessment> {
    return this.#term?.assessments() ?? [];
  }

  /** How the roll-outs stand, by datacenter; empty where this replica does not lead. */
  progress(): ReadonlyMap<string, Progress> {
    return this.#term?.progress() ?? new Map();
  }

  /** Undefined where this replica does not lead. */
  health(): FleetHealth | undefined {
    return this.#term?.health();
  }

  /** Leads until the signal. Fails only by a fault of its own. */
  async lead(signal: AbortSignal): Promise<void> {
    const { state, clock } = this.#options;
    while (!state.health().synced && !signal.aborted) await clock.sleep(SETTLE_MS, signal);
    this.#term = new Term(this.#options, signal);
    try {
      await this.#term.run();
    } finally {
      this.#term = undefined;
    }
  }
}
