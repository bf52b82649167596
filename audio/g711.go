package audio

import "math/bits"

// Companding after ITU-T G.711. The tables of the recommendation are stated
// here as arithmetic on 16-bit samples, of which mu-law keeps the upper 14 bits
// and A-law the upper 13.

const (
	ulawBias = 0x84  // 33 in the recommendation's 14 bits
	ulawClip = 32635 // the largest magnitude that stays in 15 bits with the bias
)

// EncodeULaw appends the samples to dst as mu-law (PCMU).
func EncodeULaw(dst []byte, samples []int16) []byte {
	for _, s := range samples {
		x, sign := int(s), 0
		if x < 0 {
			x, sign = -x, 0x80
		}
		x = min(x, ulawClip) + ulawBias
		segment := bits.Len(uint(x)) - 8
		dst = append(dst, ^byte(sign|segment<<4|x>>(segment+3)&0x0F))
	}
	return dst
}

// DecodeULaw appends mu-law bytes to dst as 16-bit samples.
func DecodeULaw(dst []int16, data []byte) []int16 {
	for _, b := range data {
		b = ^b
		x := (int(b&0x0F)<<3+ulawBias)<<(b>>4&7) - ulawBias
		if b&0x80 != 0 {
			x = -x
		}
		dst = append(dst, int16(x))
	}
	return dst
}

// EncodeALaw appends the samples to dst as A-law (PCMA), even bits inverted as
// the recommendation asks.
func EncodeALaw(dst []byte, samples []int16) []byte {
	for _, s := range samples {
		x, sign := int(s), 0x80
		if x < 0 {
			x, sign = ^x, 0
		}
		x >>= 3
		segment, shift := 0, 1
		if x >= 32 {
			segment = bits.Len(uint(x)) - 5
			shift = segment
		}
		dst = append(dst, byte(sign|segment<<4|x>>shift&0x0F)^0x55)
	}
	return dst
}

// DecodeALaw appends A-law bytes to dst as 16-bit samples.
func DecodeALaw(dst []int16, data []byte) []int16 {
	for _, b := range data {
		b ^= 0x55
		x := int(b&0x0F)<<4 + 8
		if segment := b >> 4 & 7; segment > 0 {
			x = (x + 0x100) << (segment - 1)
		}
		if b&0x80 == 0 {
			x = -x
		}
		dst = append(dst, int16(x))
	}
	return dst
}
