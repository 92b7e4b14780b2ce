// SPDX-License-Identifier: Apache-2.0
/**
 * Names of instances: eight characters, made here. Letters and digits that look like others are left out, since people read
 * names to each other. Which are taken the database says (`instance_names`).
 */
import { randomText } from "../../core/identity/index.ts";

const ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz";
const LENGTH = 8;

export const makeName = (): string => randomText(ALPHABET, LENGTH);
