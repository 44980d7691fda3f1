/** Audit policies of kube-apiserver, judged as kube-apiserver judges them. Pure: nothing here reads a file or knows of KKP. */
export { type Evaluation, evaluate, type Mismatch, mismatch } from './evaluate.ts';
export { formatProblem, type Problem } from './problem.ts';
export { type ReadOptions, type ReadResult, readPolicy } from './read.ts';
export * from './types.ts';
