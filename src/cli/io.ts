/**
 * What a command has of the world: its streams, its environment and its exit code. Only main.ts binds it to the process, so that a test runs
 * a command with streams of its own.
 */
export interface CliStream extends NodeJS.WritableStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface CliIo {
  readonly stdin: NodeJS.ReadableStream;
  readonly stdout: CliStream;
  readonly stderr: CliStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The exit code of the process once the command is done; the last call counts. */
  setExitCode(code: number): void;
}
