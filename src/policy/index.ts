/** Audit policies of kube-apiserver, judged as kube-apiserver judges them. Pure: nothing here reads a file or knows of KKP. */
export { judgePolicyChange, type PolicyChange, type PolicyVerdict } from './change.ts';
export { PROBLEM_CODES } from './codes.ts';
export { comparePolicies, type Difference, logsLess, representativeFor, writtenLevel } from './compare.ts';
export { type Evaluation, evaluate, type Mismatch, mismatch } from './evaluate.ts';
export { type Finding, type LintOptions, lint } from './lint.ts';
export { namedPreset, PRESETS } from './presets.ts';
export { formatProblem, type Problem } from './problem.ts';
export { type ReadOptions, type ReadResult, readPolicy } from './read.ts';
export { type Concern, REPRESENTATIVE_REQUESTS, type RepresentativeRequest, titleOf } from './requests.ts';
export * from './types.ts';
