// SPDX-License-Identifier: Apache-2.0
/**
 * The name of an image, as registries know it. A bare image id is refused: on a host with one Docker
 * for several machines it would name whatever anybody has pulled, past the registry that guards it.
 */
import type { Place } from "./place.ts";

const HOST =
  "(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*)(?::[0-9]{1,5})?";
const PART = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
const REFERENCE = new RegExp(
  `^(?:${HOST}/)?${PART}(?:/${PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`,
);
const BARE_ID = /^[0-9a-f]{64}$/;

export function readImage(at: Place): string | undefined {
  const image = at.string();
  if (image === undefined) return undefined;
  if (image === "") return at.refuse("A service needs the name of an image.");
  if (image.length > 512 || !REFERENCE.test(image) || BARE_ID.test(image)) {
    return at.refuse("This is no name of an image such as registry.example/name:tag or name@sha256:….");
  }
  if (!isPinned(image)) {
    at.warn("A tag can be moved to another image; name the image by its digest (…@sha256:…) to measure it.");
  }
  return image;
}

/** Whether the name says what the image's bytes are. */
export const isPinned = (image: string) => /@sha256:[0-9a-f]{64}$/.test(image);
