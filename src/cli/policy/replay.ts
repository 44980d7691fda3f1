import type { Policy } from '../../policy/index.ts';
import type { CliIo } from '../io.ts';
export async function runReplay(_io: CliIo, _policy: Policy, _log: string, _output: string): Promise<void> {}
