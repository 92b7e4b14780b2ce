// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"strings"
)

const (
	// The first virtio disk holds the root and behind it the tree of its hashes.
	rootDisk     = "/dev/vda"
	verityName   = "casemate-root"
	verityDevice = "/dev/dm-0"
)

// openVerity makes /dev/dm-0 of the disk: reading from it answers what the root hash vouches for, or EIO.
func openVerity(disk string, line commandLine) error {
	if err := waitFor(disk); err != nil {
		return err
	}
	// version, data, tree, block sizes, data blocks, where the tree starts, algorithm, hash, salt. The salt is fixed: it
	// would guard against tables of hashes made ahead, of which there is no use against one image that everybody has.
	parameters := fmt.Sprintf("1 %s %s %d %d %d %d sha256 %s %s", disk, disk, blockBytes, blockBytes,
		line.rootBlocks, line.rootBlocks, line.rootHash, strings.Repeat("0", 64))
	path, err := mapDevice(mapping{
		name: verityName, kind: "verity", flags: dmReadOnly,
		sectors: line.rootBlocks * blockBytes / sectorBytes, parameters: []byte(parameters),
	})
	if err == nil && path != verityDevice {
		err = fmt.Errorf("the first mapped device is %s", path)
	}
	return err
}
