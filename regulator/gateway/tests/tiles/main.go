// Reads a log as any tlog-tiles client does: verifies the checkpoint, fetches the
// tiles that the size requires, and proves every entry to be in the log and every
// smaller log to be its beginning.
//
// Usage: tiles PREFIX ORIGIN VERIFIER-KEY
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/transparency-dev/formats/log"
	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/tlog"
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Println("does not hold:", err)
		os.Exit(1)
	}
	return value
}

func get(url string) ([]byte, error) {
	answer, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, answer.Status)
	}
	return io.ReadAll(answer.Body)
}

// path is that of tlog-tiles: without the height that this client's own has, and
// with "entries" for the data tiles of level -1.
func path(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), "tile/8/")
	return "tile/" + strings.Replace(path, "data/", "entries/", 1)
}

type overHTTP struct{ prefix string }

func (overHTTP) Height() int                   { return 8 }
func (overHTTP) SaveTiles([]tlog.Tile, [][]byte) {}

func (reader overHTTP) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		bytes, err := get(reader.prefix + path(tile))
		if err != nil {
			return nil, err
		}
		all = append(all, bytes)
	}
	return all, nil
}

func main() {
	prefix, origin, key := os.Args[1], os.Args[2], os.Args[3]
	verifier := must(formats.NewVerifier(key))
	checkpoint, _, _, err := log.ParseCheckpoint(must(get(prefix+"checkpoint")), origin, verifier)
	must(0, err)
	tree := tlog.Tree{N: int64(checkpoint.Size)}
	copy(tree.Hash[:], checkpoint.Hash)
	// Whatever it reads is authenticated against the checkpoint's root.
	reader := tlog.TileHashReader(tree, overHTTP{prefix})

	var entries [][]byte
	for begin := int64(0); begin < tree.N; begin += 256 {
		tile := tlog.Tile{H: 8, L: -1, N: begin / 256, W: int(min(256, tree.N-begin))}
		bundle := must(get(prefix + path(tile)))
		for len(bundle) >= 2 {
			length := 2 + int(binary.BigEndian.Uint16(bundle))
			if length > len(bundle) {
				break
			}
			entries, bundle = append(entries, bundle[2:length]), bundle[length:]
		}
		if len(bundle) != 0 {
			must(0, fmt.Errorf("%d bytes are left over in %s", len(bundle), path(tile)))
		}
	}
	if int64(len(entries)) != tree.N {
		must(0, fmt.Errorf("%d entries in a log of %d", len(entries), tree.N))
	}
	for at, entry := range entries {
		leaf := tlog.RecordHash(entry)
		proof := must(tlog.ProveRecord(tree.N, int64(at), reader))
		must(0, tlog.CheckRecord(proof, tree.N, tree.Hash, int64(at), leaf))
	}
	for size := int64(1); size <= tree.N; size += 37 {
		before := must(tlog.TreeHash(size, reader))
		proof := must(tlog.ProveTree(tree.N, size, reader))
		must(0, tlog.CheckTree(proof, tree.N, tree.Hash, size, before))
	}
	fmt.Printf("%d entries\n", tree.N)
}
