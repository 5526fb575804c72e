/* The part of ONNX Runtime's C interface that this project uses, for a machine with the library but without its headers (the
 * Python wheel ships the library alone). Where your ONNX Runtime has headers, the Makefile takes those.
 *
 * `OrtApi` is a table of function pointers whose order never changes: new versions only append. The numbers are the places in
 * that table, counted from 0; the assertions at the end hold them. ONNX Runtime is MIT-licensed, by Microsoft Corporation.
 */
#ifndef ORT_SUBSET_H
#define ORT_SUBSET_H

#include <stddef.h>
#include <stdint.h>

#define ORT_API_VERSION 16 /* any version up to the library's own gives the same table; these entries are in 5 and later */

#ifdef _WIN32
#define ORT_API_CALL __stdcall
#else
#define ORT_API_CALL
#endif

typedef struct OrtEnv OrtEnv;
typedef struct OrtStatus OrtStatus; /* NULL means success */
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtValue OrtValue;

typedef enum { ORT_LOGGING_LEVEL_WARNING = 2 } OrtLoggingLevel;
typedef enum { ORT_ENABLE_ALL = 99 } GraphOptimizationLevel;
typedef enum { OrtDeviceAllocator = 0 } OrtAllocatorType;
typedef enum { OrtMemTypeDefault = 0 } OrtMemType;
typedef enum { ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 = 2 } ONNXTensorElementDataType;

typedef void(ORT_API_CALL *OrtSlot)(void); /* an entry that is not used here */

typedef struct OrtApi {
    OrtSlot slots_0_to_1[2];
    const char *(ORT_API_CALL *GetErrorMessage)(const OrtStatus *status);
    OrtStatus *(ORT_API_CALL *CreateEnv)(OrtLoggingLevel level, const char *log_id, OrtEnv **env);
    OrtSlot slots_4_to_5[2];
    OrtStatus *(ORT_API_CALL *DisableTelemetryEvents)(const OrtEnv *env);
    OrtSlot slot_7;
    OrtStatus *(ORT_API_CALL *CreateSessionFromArray)(const OrtEnv *env, const void *model, size_t bytes,
                                                      const OrtSessionOptions *options, OrtSession **session);
    OrtStatus *(ORT_API_CALL *Run)(OrtSession *session, const OrtRunOptions *options, const char *const *input_names,
                                   const OrtValue *const *inputs, size_t input_count, const char *const *output_names,
                                   size_t output_count, OrtValue **outputs);
    OrtStatus *(ORT_API_CALL *CreateSessionOptions)(OrtSessionOptions **options);
    OrtSlot slots_11_to_22[12];
    OrtStatus *(ORT_API_CALL *SetSessionGraphOptimizationLevel)(OrtSessionOptions *options, GraphOptimizationLevel level);
    OrtStatus *(ORT_API_CALL *SetIntraOpNumThreads)(OrtSessionOptions *options, int threads);
    OrtSlot slots_25_to_48[24];
    OrtStatus *(ORT_API_CALL *CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo *info, void *data, size_t bytes,
                                                              const int64_t *shape, size_t axes,
                                                              ONNXTensorElementDataType type, OrtValue **value);
    OrtSlot slots_50_to_68[19];
    OrtStatus *(ORT_API_CALL *CreateCpuMemoryInfo)(OrtAllocatorType allocator, OrtMemType type, OrtMemoryInfo **info);
    OrtSlot slots_70_to_91[22];
    void(ORT_API_CALL *ReleaseEnv)(OrtEnv *env);
    void(ORT_API_CALL *ReleaseStatus)(OrtStatus *status);
    void(ORT_API_CALL *ReleaseMemoryInfo)(OrtMemoryInfo *info);
    void(ORT_API_CALL *ReleaseSession)(OrtSession *session);
    void(ORT_API_CALL *ReleaseValue)(OrtValue *value);
    OrtSlot slots_97_to_99[3];
    void(ORT_API_CALL *ReleaseSessionOptions)(OrtSessionOptions *options);
    OrtSlot slots_101_to_129[29];
    OrtStatus *(ORT_API_CALL *AddSessionConfigEntry)(OrtSessionOptions *options, const char *key, const char *value);
} OrtApi;

typedef struct OrtApiBase {
    const OrtApi *(ORT_API_CALL *GetApi)(uint32_t version);
    const char *(ORT_API_CALL *GetVersionString)(void);
} OrtApiBase;

extern const OrtApiBase *ORT_API_CALL OrtGetApiBase(void);

#define ORT_PLACE(entry, place) \
    _Static_assert(offsetof(OrtApi, entry) == (place) * sizeof(OrtSlot), #entry " is entry " #place " of the table")
ORT_PLACE(GetErrorMessage, 2);
ORT_PLACE(DisableTelemetryEvents, 6);
ORT_PLACE(CreateSessionFromArray, 8);
ORT_PLACE(SetSessionGraphOptimizationLevel, 23);
ORT_PLACE(CreateTensorWithDataAsOrtValue, 49);
ORT_PLACE(CreateCpuMemoryInfo, 69);
ORT_PLACE(ReleaseEnv, 92);
ORT_PLACE(ReleaseSessionOptions, 100);
ORT_PLACE(AddSessionConfigEntry, 130);
#undef ORT_PLACE

#endif
