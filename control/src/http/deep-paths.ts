// SPDX-License-Identifier: Apache-2.0
/**
 * Paths with a name of several parts in the middle, as registries have them (`/v2/<name>/tags/list`). The
 * router below us takes such a name at the end of a path only, so all that begins with the same part goes
 * to one route, and the operation is found here, by the same tables.
 */
import { Fault } from "#contract/errors.ts";
import type { Operation } from "#contract/operation.ts";
import type { Route } from "./call.ts";

export interface DeepMatch {
  route: Route;
  params: Record<string, string>;
}

/** Answers the operation for a request, or throws what an unknown path or method is told. */
export function deepPaths(routes: readonly Route[]): (method: string, url: string) => DeepMatch {
  const known = routes.map((route) => ({ route, form: formOf(route.operation) }));
  return (method, url) => {
    const path = decode(url.split("?")[0]!);
    const found = known.flatMap(({ route, form }) => {
      const match = form.exec(path);
      return match === null ? [] : [{ route, params: { ...match.groups } as Record<string, string> }];
    });
    const one = found.find(({ route }) => route.operation.method === method);
    if (one !== undefined) return one;
    if (found.length === 0) throw new Fault("request.unknown-route", { method, path });
    const allowed = found.map(({ route }) => route.operation.method).join(", ");
    throw new Fault("request.method", { method, allowed });
  };
}

/** `:name` takes slashes, the others none. A slash at the end of a path may be left out. */
function formOf({ path }: Operation): RegExp {
  const text = path
    .replace(/:(\w+)/g, (_, name) => (name === "name" ? "(?<name>.+)" : `(?<${name}>[^/]+)`))
    .replace(/\/$/, "/?");
  return new RegExp(`^${text}$`);
}

/** What cannot be decoded is no path of ours. */
function decode(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw new Fault("request.malformed", { detail: "The path is not one that can be read." });
  }
}
