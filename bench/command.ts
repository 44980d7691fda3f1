/** How a server is started that is to be measured. */

export type Log = (line: string) => void;

/** What the peers are started with, besides what every server is. */
export interface PeerInputs {
  /** JSON: the patch for each operation. */
  readonly patchesFile: string;
  /** JSON: what is to be added; see peers/mutation.ts. */
  readonly mutationFile: string;
}

export interface Command {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
}
