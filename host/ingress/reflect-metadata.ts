// SPDX-License-Identifier: Apache-2.0
/**
 * The functions of the metadata proposal that `@peculiar/x509` (through its container of algorithms)
 * looks for on `Reflect` while it is loaded. It will not load without them. Imported before the library;
 * whoever brought a whole polyfill keeps it. The ACME client brings one, which asks what is there before
 * about all that it knows nothing of: the last three are for it.
 */
type Key = string | symbol;
interface MetadataReflect {
  defineMetadata(key: Key, value: unknown, target: object): void;
  getOwnMetadata(key: Key, target: object): unknown;
  getMetadata(key: Key, target: object): unknown;
  hasOwnMetadata(key: Key, target: object): boolean;
  getOwnMetadataKeys(target: object): Key[];
  deleteMetadata(key: Key, target: object): boolean;
}

const reflect = Reflect as typeof Reflect & Partial<MetadataReflect>;
if (reflect.getMetadata === undefined) {
  const kept = new WeakMap<object, Map<Key, unknown>>();
  const own = (key: Key, target: object) => kept.get(target)?.get(key);
  const add: MetadataReflect = {
    defineMetadata(key, value, target) {
      const entries = kept.get(target) ?? new Map<Key, unknown>();
      kept.set(target, entries.set(key, value));
    },
    getOwnMetadata: own,
    getMetadata(key, target) {
      for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at) as object | null)
        if (kept.get(at)?.has(key)) return own(key, at);
      return undefined;
    },
    hasOwnMetadata: (key, target) => kept.get(target)?.has(key) ?? false,
    getOwnMetadataKeys: (target) => [...(kept.get(target)?.keys() ?? [])],
    deleteMetadata: (key, target) => kept.get(target)?.delete(key) ?? false,
  };
  Object.assign(reflect, add);
}
