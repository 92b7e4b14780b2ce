// SPDX-License-Identifier: Apache-2.0
/** What an installation of an ordinary user's lacks, one line for each thing that only root can do. */
export const withoutRoot = (uid: number): string[] => [
  `not root: database, control, host and signer all run as uid ${uid}: whoever takes one over can read the others' keys`,
  `not root: sessions get user namespaces but no uid of their own: their proofs carry the limit shared_uid`,
  `not root: no cgroups: memory is bounded per process and CPU not at all: proofs carry the limit no_cgroup`,
  "not root: no workloads: containers need root and a Docker engine",
];
