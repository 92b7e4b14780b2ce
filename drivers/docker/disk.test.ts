// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { Disk, hasLayerQuota, judgeDisk } from "./disk.ts";

const MIB = 1024 * 1024;

describe("measuring", () => {
  test("is done one at a time, once for all who ask, and not again for a while", async () => {
    let under = 0;
    let most = 0;
    const measured: string[] = [];
    const disk = new Disk(async (id) => {
      most = Math.max(most, ++under);
      await sleep(5);
      measured.push(id);
      under--;
      return 7;
    });
    const ids = ["a", "b", "c"];
    const all = Array.from({ length: 30 }, (_, n) => disk.use(ids[n % 3]!));
    expect(await Promise.all(all)).toEqual(all.map(() => ({ usedBytes: 7, known: true })));
    await disk.use("a");
    expect(most).toBe(1);
    expect(measured).toEqual(ids);
    await disk.use("a", 0);
    expect(measured).toEqual([...ids, "a"]);
  });

  test("that fails leaves the figure that was, says so, and holds up nobody", async () => {
    let fails = false;
    const disk = new Disk(async (id) => {
      if (fails && id === "a") throw new Error("took more than 30000 ms");
      return 7;
    });
    await disk.use("a");
    fails = true;
    expect(await disk.use("a", 0)).toEqual({ usedBytes: 7, known: false });
    expect(await disk.use("b")).toEqual({ usedBytes: 7, known: true });
    fails = false;
    expect(await disk.use("a", 0)).toEqual({ usedBytes: 7, known: true });
  });
});

test.each([
  [0, false, "fits"],
  [100, false, "fits"],
  [101, false, "warn"],
  [101, true, "quiet"],
  [95, true, "quiet"],
  [95, false, "fits"],
  [89, true, "fits"],
  [110, true, "quiet"],
  [111, true, "end"],
  [111, false, "end"],
])("%i %% of the disk, told: %s, is: %s", (percent, told, verdict) =>
  expect(judgeDisk(percent * MIB, 100, told)).toBe(verdict),
);

describe("quotas of layers", () => {
  const xfs = { Driver: "overlay2", DriverStatus: [["Backing Filesystem", "xfs"]] as [string, string][] };
  const root = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw";
  const data = (options: string) =>
    `40 22 8:2 / /var/lib/docker rw,relatime shared:9 - xfs /dev/sdb1 ${options}`;
  test.each([
    ["on xfs with project quotas", xfs, "/var/lib/docker", "rw,attr2,prjquota", true],
    ["on xfs without", xfs, "/var/lib/docker", "rw,attr2,noquota", false],
    ["with quotas for users only", xfs, "/var/lib/docker", "rw,usrquota", false],
    ["on a path beside it", xfs, "/var/lib/docker2", "rw,prjquota", false],
    ["with another driver", { ...xfs, Driver: "vfs" }, "/var/lib/docker", "rw,prjquota", false],
    [
      "on ext4",
      { ...xfs, DriverStatus: [["Backing Filesystem", "extfs"]] as [string, string][] },
      "/var/lib/docker",
      "rw,prjquota",
      false,
    ],
  ])("%s", (_name, info, DockerRootDir, options, expected) =>
    expect(hasLayerQuota({ ...info, DockerRootDir }, `${root}\n${data(options)}\n`)).toBe(expected),
  );
});
