// SPDX-License-Identifier: Apache-2.0
/**
 * The grammar in which a model says what its inputs and outputs mean, by their names:
 *
 *     name    = head [ "-" [ pair *( ";" pair ) [ ";" ] ] ]
 *     head    = letter *( letter / digit / "_" )
 *     pair    = key ":" value
 *     key     = 1*( any but ":" ";" and control characters )
 *     value   = 1*( any but ";" and control characters )
 *
 * The first hyphen ends the head and belongs to the name even when nothing follows (`image-`); names
 * are seen without it too (`image`), so both are read and what stood there is kept. Values are names of
 * classes as people write them: spaces, hyphens and colons are theirs. Keys of one name are distinct.
 *
 * `parseIoName` and `printIoName` are inverses: of what was printed exactly, and of what was read up to
 * the one semicolon at the end.
 */

export interface IoName {
  head: string;
  /** False for `image`, true for `image-`; with pairs always true. */
  hyphen: boolean;
  pairs: { key: string; value: string }[];
}

export interface NameFault {
  /** Characters before the one that is wrong. */
  at: number;
  message: string;
}

export type ParsedName = { ok: true; name: IoName } | { ok: false; fault: NameFault };

/** A graph's names are read whole before they are judged, so they are bounded by this alone. */
export const NAME_MAX = 65_536;

const HEAD = /^[A-Za-z][A-Za-z0-9_]*/;
const CONTROL = /[\u0000-\u001f\u007f]/;

export function parseIoName(text: string): ParsedName {
  if (text.length > NAME_MAX) return wrong(NAME_MAX, `is longer than ${NAME_MAX} characters`);
  const control = CONTROL.exec(text);
  if (control !== null) return wrong(control.index, "has a control character");
  const head = HEAD.exec(text)?.[0];
  if (head === undefined) return wrong(0, "must begin with a letter");
  if (head.length === text.length) return { ok: true, name: { head, hyphen: false, pairs: [] } };
  if (text[head.length] !== "-")
    return wrong(head.length, "may have letters, digits and underscores before its hyphen, and no other");
  return parsePairs(head, text, head.length + 1);
}

function parsePairs(head: string, text: string, from: number): ParsedName {
  const pairs: IoName["pairs"] = [];
  const keys = new Set<string>();
  for (let at = from; at < text.length; ) {
    const semicolon = text.indexOf(";", at);
    const end = semicolon === -1 ? text.length : semicolon;
    const colon = text.indexOf(":", at);
    if (colon === -1 || colon >= end) return wrong(at, "has a part without a colon; parts are key:value");
    if (colon === at) return wrong(at, "has a part without a key; parts are key:value");
    if (colon + 1 === end) return wrong(end, "has a part without a value; parts are key:value");
    const key = text.slice(at, colon);
    if (keys.has(key)) return wrong(at, "has one key twice");
    keys.add(key);
    pairs.push({ key, value: text.slice(colon + 1, end) });
    at = end + 1;
  }
  return { ok: true, name: { head, hyphen: true, pairs } };
}

const wrong = (at: number, message: string): ParsedName => ({ ok: false, fault: { at, message } });

export function printIoName({ head, hyphen, pairs }: IoName): string {
  const tail = pairs.map(({ key, value }) => `${key}:${value}`).join(";");
  return hyphen || pairs.length > 0 ? `${head}-${tail}` : head;
}

export type Classes = { ok: true; classes: string[] } | { ok: false; message: string };

const INDEX = /^(?:0|[1-9][0-9]{0,6})$/;

/** The classes that a name lists, in the order of their numbers, which begin at 0 and leave none out. */
export function classesOf({ pairs }: IoName): Classes {
  const numbered = pairs.filter(({ key }) => INDEX.test(key));
  const classes: string[] = new Array(numbered.length);
  for (const { key, value } of numbered) {
    if (Number(key) >= numbered.length)
      return {
        ok: false,
        message: `lists class ${key} of ${numbered.length}; classes count from 0 without gaps`,
      };
    classes[Number(key)] = value;
  }
  return { ok: true, classes };
}

export const pairValue = ({ pairs }: IoName, key: string): string | undefined =>
  pairs.find((pair) => pair.key === key)?.value;

export type InputRole = "image" | "nms_sensitivity" | "mask";
export type OutputRole = "scores" | "alarm" | "bboxes";

export function inputRoleOf({ head }: IoName): InputRole | null {
  return head === "image" || head === "nms_sensitivity" || head === "mask" ? head : null;
}

/** `linecrossing_bboxes` and its like are older: boxes, with a post-processor that is named before them. */
export function outputRoleOf({ head }: IoName): OutputRole | null {
  if (head === "scores" || head === "alarm" || head === "bboxes") return head;
  return /^[a-z][a-z0-9]*_bboxes$/.test(head) ? "bboxes" : null;
}

/** The post-processor that an older name asks for, or null. */
export const processorOf = ({ head }: IoName): string | null =>
  head.endsWith("_bboxes") ? head.slice(0, -"_bboxes".length) : null;
