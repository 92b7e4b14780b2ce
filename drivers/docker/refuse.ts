// SPDX-License-Identifier: Apache-2.0
/**
 * Reading JSON that came over the link. Control has checked the document for its client; this host
 * checks it again, because whoever owns control must not own the host by it.
 */
import { DriverFault } from "../driver.ts";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** `why` is public: it names the member and the rule, never a value. */
export const refuse = (path: string, why: string): never => {
  throw new DriverFault("machine.start-failed", `${path} ${why}`.slice(0, 300));
};

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export function objectAt(value: Json | undefined, path: string): JsonObject {
  if (value === undefined || value === null) return {};
  return isObject(value) ? value : refuse(path, "must be a mapping");
}

export function listAt(value: Json | undefined, path: string): Json[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? value : refuse(path, "must be a list");
}

export function stringAt(value: Json | undefined, path: string): string {
  return typeof value === "string" ? value : refuse(path, "must be a string");
}

export const isEmpty = (value: Json | undefined) =>
  value === undefined || value === null || (isObject(value) && Object.keys(value).length === 0);
