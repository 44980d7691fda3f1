/** What this server is to reach beside its peers. */
import { OBJECTS } from '../rounds.ts';
import type { ServerId } from '../servers.ts';
import { OURS } from '../servers.ts';
import type { CaseReport, Report, ServerReport } from './result.ts';

interface Verdict {
  readonly found: string;
  readonly met: boolean;
}

interface Goal {
  readonly goal: string;
  /** @returns undefined where it was not measured */
  judge(report: Report): Verdict | undefined;
}

const FIRST_ANSWER_LIMIT_MS = 400;

const GOALS: readonly Goal[] = [
  ...fasterThan('controller-runtime', 10),
  ...fasterThan('pepr', 8),
  steadierThan('controller-runtime'),
  steadierThan('pepr'),
  {
    goal: "RSS below Pepr's, after the load and at its peak",
    judge: (report) => {
      const [ours, theirs] = [serverOf(report, OURS), serverOf(report, 'pepr')];
      if (ours === undefined || theirs === undefined) return undefined;
      const [rss, peak] = [
        ours.rssMegabytes / theirs.rssMegabytes,
        ours.peakRssMegabytes / theirs.peakRssMegabytes,
      ];
      return { found: `${rss.toFixed(2)} times; at the peak ${peak.toFixed(2)}`, met: rss < 1 && peak < 1 };
    },
  },
  {
    goal: `first answer within ${FIRST_ANSWER_LIMIT_MS} ms of start`,
    judge: (report) => {
      const ours = serverOf(report, OURS);
      if (ours === undefined) return undefined;
      const { firstAnswerMs, firstAnswerAgainMs = Number.NaN } = ours;
      return {
        found: `${firstAnswerMs.toFixed(0)} ms; started again ${firstAnswerAgainMs.toFixed(0)} ms`,
        met: firstAnswerMs <= FIRST_ANSWER_LIMIT_MS,
      };
    },
  },
];

/** Each goal that could be judged by what was measured. */
export function judgeGoals(
  report: Report,
): { readonly goal: string; readonly found: string; readonly met: boolean }[] {
  return GOALS.flatMap(({ goal, judge }) => {
    const verdict = judge(report);
    return verdict === undefined ? [] : [{ goal, ...verdict }];
  });
}

function fasterThan(peer: ServerId, times: number): Goal[] {
  return OBJECTS.map((objects) => ({
    goal: `UPDATE at 16 connections, ${objects} objects: at least ${times} times the requests/s of ${peer}`,
    judge: ({ cases }) => {
      const ratios = cases
        .filter((one) => one.operation === 'UPDATE' && one.connections === 16 && one.objects === objects)
        .flatMap((one) => ratioOf(one, peer, 'requestsPerSecond'));
      return ratios.length === 0
        ? undefined
        : { found: listRatios(ratios), met: Math.min(...ratios) >= times };
    },
  }));
}

/** For both operations, with the same objects and with new ones. */
function steadierThan(peer: ServerId): Goal {
  return {
    goal: `p99 at one connection below that of ${peer}`,
    judge: ({ cases }) => {
      const ratios = cases
        .filter(({ connections }) => connections === 1)
        .flatMap((one) => ratioOf(one, peer, 'p99Ms'));
      return ratios.length === 0 ? undefined : { found: listRatios(ratios), met: Math.max(...ratios) < 1 };
    },
  };
}

function ratioOf({ ratios }: CaseReport, peer: ServerId, key: 'requestsPerSecond' | 'p99Ms'): number[] {
  const ratio = ratios[peer]?.[key];
  return ratio === undefined ? [] : [ratio];
}

function listRatios(ratios: readonly number[]): string {
  return `${ratios.map((ratio) => ratio.toFixed(2)).join(', ')} times`;
}

function serverOf({ servers }: Report, id: ServerId): ServerReport | undefined {
  return servers.find((server) => server.id === id);
}
