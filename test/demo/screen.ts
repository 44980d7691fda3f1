/** What the demo writes: headings, commands, what they printed, and whether that was as expected. Colours on a terminal only. */

const COLUMNS = 110;

export interface ScreenStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

export class Screen {
  readonly #stream: ScreenStream;
  readonly #colour: boolean;
  #steps = 0;
  #expectations = 0;
  readonly #failures: string[] = [];

  constructor(stream: ScreenStream, colour = stream.isTTY === true && !process.env.NO_COLOR) {
    this.#stream = stream;
    this.#colour = colour;
  }

  /** Starts the next step. */
  step(title: string): void {
    this.#steps++;
    this.#line('');
    this.#line(this.#paint('1;36', `${this.#steps}. ${title}`));
  }

  /** A sentence on what is seen. */
  say(text: string): void {
    for (const line of wrap(text, COLUMNS - 3)) this.#line(`   ${line}`);
  }

  /** A command, before it runs, and in whose name. */
  command(text: string, note: string): void {
    this.#line(`   ${this.#paint('1', `$ ${text}`)}  ${this.#paint('2', `# ${note}`)}`);
  }

  /** What a program printed, as it is. */
  output(text: string): void {
    for (const line of text.trimEnd().split('\n')) this.#line(`     ${this.#paint('2', line)}`);
  }

  /** The lines that differ, with a little of what stands around them. */
  diff(before: string, after: string, context = 1): void {
    const lines = diffLines(before.trimEnd().split('\n'), after.trimEnd().split('\n'));
    const isNear = (index: number) =>
      lines.slice(Math.max(0, index - context), index + context + 1).some(([sign]) => sign !== ' ');
    let skipped = false;
    lines.forEach(([sign, text], index) => {
      if (isNear(index)) {
        const line = `${sign} ${text}`;
        this.#line(
          `     ${sign === ' ' ? this.#paint('2', line) : this.#paint(sign === '+' ? '32' : '31', line)}`,
        );
        skipped = false;
      } else if (!skipped) {
        this.#line(`     ${this.#paint('2', '…')}`);
        skipped = true;
      }
    });
  }

  /** Says whether something is as the demo expects. */
  expect(sentence: string, holds: boolean): void {
    this.#expectations++;
    if (!holds) this.#failures.push(`step ${this.#steps}: ${sentence}`);
    this.#line(
      `   ${holds ? this.#paint('32', '✓') : this.#paint('1;31', '✗ NOT AS EXPECTED:')} ${sentence}`,
    );
  }

  /** Sums up. @returns the exit code */
  finish(): 0 | 1 {
    this.#line('');
    if (this.#failures.length === 0) {
      this.#line(
        this.#paint('1;32', `All ${this.#expectations} expectations of ${this.#steps} steps were met.`),
      );
      return 0;
    }
    this.#line(
      this.#paint('1;31', `${this.#failures.length} of ${this.#expectations} expectations were not met:`),
    );
    for (const failure of this.#failures) this.#line(`  ${failure}`);
    return 1;
  }

  #line(text: string): void {
    this.#stream.write(`${text}\n`);
  }

  #paint(code: string, text: string): string {
    return this.#colour ? `\u001b[${code}m${text}\u001b[0m` : text;
  }
}

function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

type DiffLine = readonly [' ' | '+' | '-', string];

/** The longest common subsequence by its table: a Deployment has a few hundred lines. */
function diffLines(before: readonly string[], after: readonly string[]): DiffLine[] {
  const lengths = Array.from({ length: before.length + 1 }, () => new Uint16Array(after.length + 1));
  const length = (i: number, j: number) => lengths[i]?.[j] ?? 0;
  for (let i = before.length - 1; i >= 0; i--)
    for (let j = after.length - 1; j >= 0; j--) {
      const row = lengths[i];
      if (row !== undefined)
        row[j] =
          before[i] === after[j] ? length(i + 1, j + 1) + 1 : Math.max(length(i + 1, j), length(i, j + 1));
    }
  const result: DiffLine[] = [];
  let i = 0;
  let j = 0;
  while (i < before.length || j < after.length) {
    const [old, now] = [before[i], after[j]];
    if (old !== undefined && old === now) {
      result.push([' ', old]);
      i++;
      j++;
    } else if (now !== undefined && (old === undefined || length(i, j + 1) > length(i + 1, j))) {
      result.push(['+', now]);
      j++;
    } else if (old !== undefined) {
      result.push(['-', old]);
      i++;
    }
  }
  return result;
}
