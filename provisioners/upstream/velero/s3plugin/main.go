// Command s3plugin is Velero's way to an S3 store, as a plugin that its server starts from /plugins.
//
// The plugin's name is what a BackupStorageLocation gives as `provider`. The uploader of volumes
// (kopia, in the node agents) does not ask a plugin: it picks its own backend by that name, and takes
// S3 for `aws` and `velero.io/aws` and for any name that it does not know whose config has `s3Url`
// (pkg/repository/config, GetBackendType). So a location needs `s3Url`, `region` and a `credential`,
// and both ways then read the same config.
package main

import (
	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"
	"github.com/vmware-tanzu/velero/pkg/plugin/framework"

	"gonogo.dev/upstream/velero/s3plugin/store"
)

func main() {
	framework.NewServer().
		// The server starts plugins with its own flags.
		BindFlags(pflag.CommandLine).
		RegisterObjectStore("gonogo.dev/s3", func(logrus.FieldLogger) (any, error) { return &store.Store{}, nil }).
		Serve()
}
