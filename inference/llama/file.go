package llama

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
)

// maxTensorSplit is far above the devices that llama.cpp knows (16).
const maxTensorSplit = 256

// check refuses options that llama.cpp would misread or abort on.
func (o *ModelOptions) check() error {
	if o.GPULayers < AutoLayers || o.GPULayers > math.MaxInt32 {
		return fmt.Errorf("GPU layers must be 0 or more, %d (all) or %d (automatic), got %d", AllLayers, AutoLayers, o.GPULayers)
	}
	if o.SplitMode < SplitLayer || o.SplitMode > SplitRow {
		return fmt.Errorf("unknown split mode %d", o.SplitMode)
	}
	for _, d := range o.Devices {
		if strings.ContainsAny(d, "\n\x00") {
			return fmt.Errorf("the device name %q holds a control character", d)
		}
	}
	if len(o.TensorSplit) > maxTensorSplit {
		return fmt.Errorf("the tensor split may have at most %d shares, got %d", maxTensorSplit, len(o.TensorSplit))
	}
	var sum float64
	for i, s := range o.TensorSplit {
		if !(s >= 0) || math.IsInf(float64(s), 0) {
			return fmt.Errorf("share %d of the tensor split must be 0 or more, got %g", i, s)
		}
		sum += float64(s)
	}
	if len(o.TensorSplit) > 0 && sum == 0 {
		return errors.New("at least one share of the tensor split must be above 0")
	}
	if len(o.TensorSplit) > 0 && o.GPULayers == AutoLayers {
		return errors.New("a tensor split and automatic GPU layers exclude each other: give the number of layers, or leave the split out")
	}
	if o.Fit != nil {
		if err := o.Fit.check(); err != nil {
			return err
		}
	}
	return nil
}

// checkFile says in plain words what is wrong with a file that cannot be a model.
// It is no substitute for a full check of the header: it reads 24 bytes.
func checkFile(path string) error {
	if path == "" || strings.ContainsRune(path, 0) {
		return fmt.Errorf("%q is not a file name", path)
	}
	f, err := os.Open(path)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			return pe.Err // the caller names the path
		}
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.IsDir() {
		return errors.New("it is a folder: name the GGUF file in it")
	}
	if !st.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	var head [24]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return fmt.Errorf("not a GGUF file: it has %d bytes, and the header alone has %d", st.Size(), len(head))
	}
	if string(head[:4]) != "GGUF" {
		return fmt.Errorf("not a GGUF file: it begins with %q", head[:4])
	}
	if v := binary.LittleEndian.Uint32(head[4:]); v < 2 || v > 3 {
		return fmt.Errorf("GGUF version %d cannot be read; versions 2 and 3 can", v)
	}
	return nil
}

// fileBytes returns the size of the file, 0 if it is gone.
func fileBytes(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}
