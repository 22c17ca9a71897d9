// Command volume makes or removes the folder of one local volume: it is what
// local-path-provisioner starts in a helper pod on the node, in place of shell scripts, as
// `volume-setup` or `volume-teardown`, with the folder in $VOL_DIR.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

func main() {
	if err := act(filepath.Base(os.Args[0]), os.Getenv("VOL_DIR")); err != nil {
		fmt.Fprintln(os.Stderr, "volume:", err)
		os.Exit(1)
	}
}

func act(name, folder string) error {
	if !filepath.IsAbs(folder) || filepath.Clean(folder) == "/" {
		return fmt.Errorf("VOL_DIR=%q is no folder of a volume", folder)
	}
	switch name {
	case "volume-setup":
		syscall.Umask(0)
		return os.MkdirAll(folder, 0o777)
	case "volume-teardown":
		return os.RemoveAll(folder)
	}
	return fmt.Errorf("called as %q, not volume-setup or volume-teardown", name)
}
