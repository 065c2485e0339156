// Command image makes an OCI image of one static program: image PROGRAM REFERENCE ARCHIVE.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: image PROGRAM REFERENCE ARCHIVE")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

type file struct {
	name    string
	content []byte
	mode    int64
}

func archive(files ...file) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, f := range files {
		if err := writer.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.content)), Mode: f.mode}); err != nil {
			return nil, err
		}
		if _, err := writer.Write(f.content); err != nil {
			return nil, err
		}
	}
	return buffer.Bytes(), writer.Close()
}

type object = map[string]any

// blob is a content with its descriptor.
func blob(kind string, content []byte) (file, object) {
	digest := fmt.Sprintf("%x", sha256.Sum256(content))
	descriptor := object{"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + digest, "size": len(content)}
	return file{"blobs/sha256/" + digest, content, 0o644}, descriptor
}

func write(program, reference, path string) error {
	binary, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	content, err := archive(file{"program", binary, 0o755})
	if err != nil {
		return err
	}
	layer, layerDescriptor := blob("layer.v1.tar", content)
	config, err := json.Marshal(object{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       object{"Entrypoint": []string{"/program"}},
		"rootfs":       object{"type": "layers", "diff_ids": []any{layerDescriptor["digest"]}},
	})
	if err != nil {
		return err
	}
	configFile, configDescriptor := blob("config.v1+json", config)
	manifest, err := json.Marshal(object{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        configDescriptor,
		"layers":        []object{layerDescriptor},
	})
	if err != nil {
		return err
	}
	manifestFile, manifestDescriptor := blob("manifest.v1+json", manifest)
	manifestDescriptor["annotations"] = object{"io.containerd.image.name": reference}
	index, err := json.Marshal(object{"schemaVersion": 2, "manifests": []object{manifestDescriptor}})
	if err != nil {
		return err
	}
	image, err := archive(
		file{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644},
		file{"index.json", index, 0o644},
		layer, configFile, manifestFile,
	)
	if err != nil {
		return err
	}
	return os.WriteFile(path, image, 0o644)
}
