// SPDX-License-Identifier: Apache-2.0
/**
 * Pictures that wait to be looked at. A camera does not wait for its models: of more than may wait, the oldest
 * is given up, and said to be. Otherwise ffmpeg would hold them back, and what is looked at would be older
 * and older. A folder or a file waits, and nothing of it is given up.
 */
export interface NewestOptions {
  /** Null: the source waits until the one before was taken. */
  waitingMax: number | null;
  onDrop(): void;
}

/** Each with how many wait behind it. */
export async function* newest<T>(
  source: AsyncIterable<T>,
  { waitingMax, onDrop }: NewestOptions,
): AsyncGenerator<{ one: T; waiting: number }> {
  if (waitingMax === null) {
    for await (const one of source) yield { one, waiting: 0 };
    return;
  }
  const waiting: T[] = [];
  let left = false;
  let end: { fault?: unknown } | null = null;
  let wake = () => {};
  const fill = async () => {
    for await (const one of source) {
      if (left) return;
      waiting.push(one);
      if (waiting.length > waitingMax) {
        waiting.shift();
        onDrop();
      }
      wake();
    }
  };
  const filling = fill().then(
    () => ({}),
    (fault: unknown) => ({ fault }),
  );
  filling.then((how) => {
    end = how;
    wake();
  });
  const ended = (): { fault?: unknown } | null => end;
  try {
    for (;;) {
      const one = waiting.shift();
      if (one !== undefined) yield { one, waiting: waiting.length };
      else if (ended() !== null) break;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  } finally {
    // The source is let go with its next picture, or when it ends.
    left = true;
  }
  const how = ended();
  if (how !== null && "fault" in how) throw how.fault;
}
