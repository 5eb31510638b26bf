package models

import (
	"fmt"
	"math"
)

// TensorType is how the weights of a tensor are stored, by ggml's numbers.
type TensorType uint32

// layout is a tensor type: blocks of so many elements take so many bytes.
type layout struct {
	name         string
	block, bytes int64
}

// layouts lists what ggml reads; the numbers that are missing were removed from
// the format. The figures are the sizes of ggml's block structures.
var layouts = map[TensorType]layout{
	0: {"F32", 1, 4}, 1: {"F16", 1, 2}, 30: {"BF16", 1, 2}, 28: {"F64", 1, 8},
	24: {"I8", 1, 1}, 25: {"I16", 1, 2}, 26: {"I32", 1, 4}, 27: {"I64", 1, 8},
	2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20}, 6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24},
	8: {"Q8_0", 32, 34}, 9: {"Q8_1", 32, 36},
	10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144},
	13: {"Q5_K", 256, 176}, 14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292},
	16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74}, 22: {"IQ2_S", 256, 82},
	18: {"IQ3_XXS", 256, 98}, 21: {"IQ3_S", 256, 110},
	19: {"IQ1_S", 256, 50}, 29: {"IQ1_M", 256, 56},
	20: {"IQ4_NL", 32, 18}, 23: {"IQ4_XS", 256, 136},
	34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66},
	39: {"MXFP4", 32, 17}, 40: {"NVFP4", 64, 36}, 41: {"Q1_0", 128, 18}, 42: {"Q2_0", 64, 18},
}

func (t TensorType) String() string {
	if l, ok := layouts[t]; ok {
		return l.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// bytes returns the size of a tensor's data. Rows are whole blocks.
func (t TensorType) bytes(dims []int64, elements int64) (int64, error) {
	l, ok := layouts[t]
	if !ok {
		return 0, fmt.Errorf("its type %d is not known to this version", uint32(t))
	}
	row := int64(1)
	if len(dims) > 0 {
		row = dims[0]
	}
	if row%l.block != 0 {
		return 0, fmt.Errorf("its rows have %d elements, %s needs a multiple of %d", row, l.name, l.block)
	}
	blocks := elements / l.block
	if blocks > math.MaxInt64/l.bytes {
		return 0, fmt.Errorf("it is larger than any file")
	}
	return blocks * l.bytes, nil
}

// fileTypes names general.file_type, by llama.cpp's numbers.
var fileTypes = map[uint64]string{
	0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1",
	10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M",
	16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S",
	22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M",
	28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
	36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4", 40: "Q1_0", 41: "Q2_0",
}
