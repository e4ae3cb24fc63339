// The gradient norm, AdamW and the average of the trained parameters, over the flat buffers.

// Writes the sums of squares: thread block i sums run i, which has `run` numbers.
extern "C" __global__ void square_sums(float* sums, const float* from, u64 run, u64 len) {
    u64 begin = blockIdx.x * run, end = begin + run < len ? begin + run : len;
    float sum = 0.0f;
    for (u64 i = begin + threadIdx.x; i < end; i += blockDim.x) sum += from[i] * from[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Runs one AdamW step, with 1 minus the betas in other1 and other2. Sets the gradients to zero, and writes the
// parameters to `narrow` in the number format of matrix products unless `narrow` is null.
extern "C" __global__ void adamw(
    float* parameters, float* gradients, float* first, float* second, real* narrow, float clip, float beta1,
    float other1, float beta2, float other2, float rate, float root, float epsilon, float keep, u64 len
) {
    u64 i = thread_index();
    if (i >= len) return;
    // All four values are read before anything is written, so that a thread waits for memory only once.
    float gradient = gradients[i] * clip, m = first[i], v = second[i], value = parameters[i];
    m = beta1 * m + other1 * gradient;
    v = beta2 * v + other2 * gradient * gradient;
    value = value * keep - rate * m / (sqrtf(v) * root + epsilon);
    first[i] = m;
    second[i] = v;
    gradients[i] = 0.0f;
    parameters[i] = value;
    if (narrow) put(narrow + i, value);
}

// Moves the averages by a share of the difference, so that the average of a frozen number keeps its bits.
extern "C" __global__ void average(float* averages, const float* numbers, float rest, u64 len) {
    u64 i = thread_index();
    if (i < len) averages[i] += rest * (numbers[i] - averages[i]);
}
