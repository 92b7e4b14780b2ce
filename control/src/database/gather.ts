// SPDX-License-Identifier: Apache-2.0
/**
 * Questions of one kind that come at once, asked in one statement. What a statement costs is mostly the
 * way to the database and back, so a busy process asks for many in the time of one, and a quiet one
 * waits for nobody.
 *
 *  A. A load begins after every question it answers was put: nothing is kept, so nothing is stale, and
 *     whoever asks after a change was acknowledged is told of it.
 *  B. A load that fails fails all of its questions. Whoever asks checks the form of a question first,
 *     or one caller's rubbish would be the neighbours' error.
 *  C. At most `atOnce` loads are under way, of at most `most` questions; a slow one holds up the next.
 */
export interface GatherLimits {
  most?: number;
  atOnce?: number;
}

interface Asked<K, V> {
  ask: K;
  resolve(value: V | PromiseLike<V>): void;
  reject(error: unknown): void;
}

/** In the order of the questions. What is not known yet may be put again, and its answer promised. */
type Answers<V> = Promise<readonly (V | PromiseLike<V>)[]>;

export function gather<K, V>(
  load: (asks: K[]) => Answers<V>,
  { most = 500, atOnce = 1 }: GatherLimits = {},
): (ask: K) => Promise<V> {
  let waiting: Asked<K, V>[] = [];
  let underWay = 0;
  let called = false;

  const run = async () => {
    const batch = waiting.slice(0, most);
    waiting = waiting.slice(most);
    underWay++;
    try {
      const values = await load(batch.map(({ ask }) => ask));
      if (values.length !== batch.length) throw new Error("a load answered another number of questions");
      for (const [at, { resolve }] of batch.entries()) resolve(values[at]!);
    } catch (error) {
      for (const { reject } of batch) reject(error);
    } finally {
      underWay--;
      call();
    }
  };
  // After what this turn of the event loop read from its sockets: those are asked together.
  const call = () => {
    if (called || waiting.length === 0 || underWay >= atOnce) return;
    called = true;
    setImmediate(() => {
      called = false;
      void run();
      call();
    });
  };
  return (ask) => {
    const { promise, resolve, reject } = Promise.withResolvers<V>();
    waiting.push({ ask, resolve, reject });
    call();
    return promise;
  };
}

/** One gatherer for each handle, so that what is asked of one is not answered by another. */
export function gatherFor<H extends object, K, V>(
  load: (handle: H, asks: K[]) => Answers<V>,
  limits?: GatherLimits,
): (handle: H, ask: K) => Promise<V> {
  const known = new WeakMap<H, (ask: K) => Promise<V>>();
  return (handle, ask) => {
    let asked = known.get(handle);
    if (asked === undefined) {
      asked = gather((asks: K[]) => load(handle, asks), limits);
      known.set(handle, asked);
    }
    return asked(ask);
  };
}
