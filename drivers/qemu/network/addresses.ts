// SPDX-License-Identifier: Apache-2.0
/**
 * Addresses of machines: out of one range four at a time, the gateway's and the guest's between a network's and its
 * broadcast's. The next ones are those unused for longest, as uids are (sandbox/uids.ts): somebody's visitors may
 * still be on their way to an address that was given back.
 */
import { randomInt } from "node:crypto";
import { networkInterfaces } from "node:os";
import { DriverFault } from "../../driver.ts";

export interface Addresses {
  gateway: string;
  guest: string;
}

const RANGE = /^(\d{1,3}(?:\.\d{1,3}){3})\/(\d{1,2})$/;
const BITS_EACH = 2;
/** Between 4 machines and 4 million. */
const PREFIX = { min: 8, max: 28 };

export class AddressPool {
  readonly #base: number;
  readonly #count: number;
  readonly #taken = new Set<number>();
  #next: number;

  /** @param range As `10.231.0.0/16`. */
  constructor(range: string) {
    const [, base = "", prefix = ""] = RANGE.exec(range) ?? [];
    const bits = Number(prefix);
    const valid = base.split(".").every((part) => Number(part) < 256) && base !== "";
    if (!valid || bits < PREFIX.min || bits > PREFIX.max)
      throw new TypeError(`a range of addresses is like 10.231.0.0/16 (/${PREFIX.min} to /${PREFIX.max})`);
    this.#count = 2 ** (32 - bits - BITS_EACH);
    this.#base = Math.floor(numberOf(base) / 2 ** (32 - bits)) * 2 ** (32 - bits);
    this.#next = randomInt(this.#count);
  }

  /** None of `used`, and none where this computer has a network already. */
  take(used: ReadonlySet<string>): Addresses {
    const own = networksHere();
    for (let tried = 0; tried < this.#count; tried++) {
      const slot = this.#next++ % this.#count;
      const first = this.#base + slot * 4;
      const addresses = { gateway: textOf(first + 1), guest: textOf(first + 2) };
      if (this.#taken.has(slot) || used.has(addresses.guest)) continue;
      if (own.some(([from, to]) => first <= to && first + 3 >= from)) continue;
      this.#taken.add(slot);
      return addresses;
    }
    throw new DriverFault("machine.start-failed", "this host has no address left for the machine");
  }

  give({ gateway }: Addresses): void {
    this.#taken.delete((numberOf(gateway) - 1 - this.#base) / 4);
  }
}

/** First and last address of each network that an interface of this computer is in. */
function networksHere(): [number, number][] {
  return Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .filter(({ family }) => family === "IPv4")
    .map(({ address, netmask }) => {
      const size = 2 ** 32 - numberOf(netmask);
      const first = Math.floor(numberOf(address) / size) * size;
      return [first, first + size - 1];
    });
}

/** Of an IPv4 address, and back. */
export const numberOf = (text: string) => text.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
export const textOf = (address: number) => [24, 16, 8, 0].map((by) => (address >>> by) & 255).join(".");
