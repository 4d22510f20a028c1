/* A library that answers as NVIDIA's does, as far as raftmon asks: two GPUs, the second of which refuses most questions
   (as one that is split into instances does) and falls off the bus once it was asked three times. */
#include <string.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, GPU_IS_LOST = 15 };
struct utilization { unsigned int gpu, memory; };
struct memory { unsigned long long total, free, used; };
static int gpus[2] = {0, 1}, asked = 0, ready = 0;

int nvmlInitWithFlags(unsigned int flags) { (void)flags; ready = 1; return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return ready ? SUCCESS : UNINITIALIZED; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, int **handle) {
    if (index > 1) return INVALID_ARGUMENT;
    if (index == 1 && ++asked > 3) return GPU_IS_LOST;
    *handle = &gpus[index];
    return SUCCESS;
}
int nvmlDeviceGetName(int *handle, char *name, unsigned int length) {
    (void)length;
    strcpy(name, *handle ? "NVIDIA A30" : "NVIDIA H100 80GB HBM3");
    return SUCCESS;
}
int nvmlDeviceGetUtilizationRates(int *handle, struct utilization *rates) {
    rates->gpu = 97; rates->memory = 40;
    return *handle ? NOT_SUPPORTED : SUCCESS;
}
int nvmlDeviceGetMemoryInfo(int *handle, struct memory *memory) {
    (void)handle;
    memory->total = 85520809984ull; memory->used = 61203283968ull; memory->free = memory->total - memory->used;
    return SUCCESS;
}
int nvmlDeviceGetPowerUsage(int *handle, unsigned int *milliwatts) {
    *milliwatts = 412345;
    return *handle ? NOT_SUPPORTED : SUCCESS;
}
int nvmlDeviceGetTemperature(int *handle, int sensor, unsigned int *degrees) {
    *degrees = 71;
    return *handle || sensor ? NOT_SUPPORTED : SUCCESS;
}
