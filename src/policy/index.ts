/** Audit policies of kube-apiserver, judged as kube-apiserver judges them. Pure: nothing here reads a file or knows of KKP. */
export { judgePolicyChange } from './change.ts';
export { PROBLEM_CODES } from './codes.ts';
export { comparePolicies, type Difference, logsLess, writtenLevel } from './compare.ts';
export { type Evaluation, evaluate, type Mismatch, mismatch } from './evaluate.ts';
export { type Finding, lint } from './lint.ts';
export { namedPreset, PRESETS } from './presets.ts';
export { formatProblem, type Problem } from './problem.ts';
export { type ReadResult, readPolicy } from './read.ts';
export { REPRESENTATIVE_REQUESTS, titleOf } from './requests.ts';
export * from './types.ts';
