package cuda

import "fmt"

// Need is what a model and its context take, in bytes.
type Need struct {
	Layers  int   // of the model, with its output layer
	Weights int64 // of all layers together
	Cache   int64 // of the KV cache, for all layers together; 0 where it stays on the host
	Compute int64 // for intermediate results, on every GPU that is used
}

// Offload is a plan: which layers lie where.
type Offload struct {
	Layers int   // on GPUs, counted from the last
	Total  int   // of the model
	PerGPU []int // layers on each GPU, in the order of their free memory
}

// Plan spreads as many layers over GPUs as fit into their free memory, of which
// margin is left alone on each. Layers are taken to be of equal size. The GPUs
// that have more room get more, and none is used that holds no layer.
func Plan(need Need, free []int64, margin int64) Offload {
	o := Offload{Total: max(need.Layers, 0), PerGPU: make([]int, len(free))}
	if o.Total == 0 {
		return o
	}
	layer := (max(need.Weights, 0) + max(need.Cache, 0) + int64(o.Total) - 1) / int64(o.Total)
	room := make([]int, len(free)) // layers that fit on each
	sum := 0
	for i, f := range free {
		usable := f - margin - max(need.Compute, 0)
		switch {
		case usable <= 0:
		case layer == 0:
			room[i] = o.Total
		default:
			room[i] = int(min(usable/layer, int64(o.Total)))
		}
		sum += room[i]
	}
	o.Layers = min(sum, o.Total)
	left, roomLeft := o.Layers, sum
	for i, r := range room {
		if roomLeft == 0 {
			break
		}
		// in proportion to the room, rounded up; what remains always fits
		n := min((left*r+roomLeft-1)/roomLeft, r)
		o.PerGPU[i] = n
		left -= n
		roomLeft -= r
	}
	return o
}

// Line says the plan in one line, for the log.
func (o Offload) Line() string {
	switch {
	case o.Layers == 0:
		return fmt.Sprintf("none of %d layers fits on a GPU: all stay on the CPU", o.Total)
	case o.Layers < o.Total:
		return fmt.Sprintf("%d of %d layers fit on GPUs, the CPU has the rest", o.Layers, o.Total)
	default:
		return fmt.Sprintf("all %d layers fit on GPUs", o.Total)
	}
}
